"""What a profile shows: the CSV, the terminal, the page."""

import csv
import dataclasses
import itertools
import re

from cutlayer.records.profile import Bandwidth, Leakage, Limits, Quality
from cutlayer.records.run import Estimate
from cutlayer.report.kit.svg import LETTER
from cutlayer.report.kit.wording import duration
from cutlayer.report.profiles import charts, page, terminal
from cutlayer.trace import STAGES
from tests.report.runs.test_page import Page


def test_the_files_hold_the_same_figures(profiled):
    out, stdout, profile = profiled
    rows = list(csv.DictReader((out / "profile.csv").read_text().splitlines()))
    assert len(rows) == 2 * 2 * 2
    for row in rows:
        (cut,) = (cut for cut in profile.cuts if cut.cut == row["cut"])
        requests = cut.networks[row["network"]][row["codec"]]
        assert int(row["end_to_end_ns"]) == requests.end_to_end_ns.p50
        codec = cut.codecs[row["codec"]]
        assert (int(row["message_bytes"]), int(row["answer_bytes"])) == (codec.message_bytes, codec.answer_bytes)
        assert f"{codec.message_bytes:,}" in stdout
        assert int(row["tail_ns"]) == round(requests.stages_ns["tail"])
    assert terminal.text(profile) in stdout


def test_the_page_is_well_formed_and_needs_nothing_else(profiled):
    out, _, profile = profiled
    text = (out / "profile.html").read_text()
    assert not Page(text).open
    assert all(f"<{tag}" in text for tag in ("svg", "table", "polyline", "circle"))
    assert not any(f"<{tag}" in text for tag in ("script", "link", "img"))
    assert all(f"s-{stage}" in text for stage in STAGES)
    assert profile.cuts[0].cut in text


def test_the_page_has_every_percentile_of_every_stage(profiled):
    _, _, profile = profiled
    text = page.page(profile)
    for stage in (*STAGES, "end to end"):
        assert f'<th scope="col">{stage}</th>' in text
    encode = profile.cuts[0].codecs["int8"].stages_ns["encode"]
    assert duration(encode.p50) in text
    assert duration(encode.p95) in text


def test_known_quality_is_drawn_with_its_limits(profiled):
    _, _, profile = profiled

    def with_quality(cut, leakage):
        quality = Quality(Estimate(0.9, 9, 0.8, 1.0), None, Leakage(leakage, 9, 0.0, 1.0, "ridge", {}))
        codecs = {name: dataclasses.replace(codec, quality=quality) for name, codec in cut.codecs.items()}
        return dataclasses.replace(cut, codecs=codecs)

    cuts = tuple(with_quality(cut, 0.5 + 0.3 * place) for place, cut in enumerate(profile.cuts))
    without = dataclasses.replace(profile, cuts=cuts)
    limited = dataclasses.replace(without, limits=Limits(None, leakage=0.7, accuracy=0.8))
    text = page.page(limited)
    assert "Leakage gain against end-to-end latency" in text
    # One line for each limit, on each network and screen.
    lines = page.page(without).count('class="reference"')
    assert text.count('class="reference"') == lines + 2 * 2 * len(profile.networks)
    assert "0.800" in terminal.text(limited)


def test_no_choice_within_the_limits_is_said_and_nothing_is_drawn(profiled):
    _, _, profile = profiled
    none = {"best": None, "why_none": "No cut keeps the limit on leakage.", "as_good": ()}
    recommendations = tuple(dataclasses.replace(entry, **none) for entry in profile.recommendations)
    changes = {"bandwidth": Bandwidth(False, (), ()), "recommendations": recommendations}
    profile = dataclasses.replace(profile, **changes)
    for text in (page.page(profile), terminal.text(profile)):
        assert "No cut keeps the limit on leakage. The device alone keeps it, and takes" in text


def test_charts_are_drawn_for_wide_and_narrow_screens_and_their_labels_do_not_overlap(profiled):
    _, _, profile = profiled
    for screen, frame in charts.FRAMES.items():
        (drawing,) = (str(svg) for svg in charts.bandwidth_curve(profile) if f"scatter {screen}" in svg)
        assert f'viewBox="0 0 {frame.width:.0f} {frame.height:.0f}"' in drawing
        # The recommended choice of the emulated network is a point; loopback has no rate.
        assert drawing.count("<circle") == 1
        below = re.findall(rf'<text x="([\d.]+)" y="{frame.bottom + 19:.1f}" text-anchor="middle">([^<]*)<', drawing)
        ends = [(float(x) - LETTER * len(words) / 2, float(x) + LETTER * len(words) / 2) for x, words in below]
        assert len(ends) > 2
        assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(ends))
        assert ends[-1][1] < frame.width
