"""What a profile shows: the CSV, the terminal, the page."""

import csv
import json
from html.parser import HTMLParser

from cutlayer.report.kit.wording import duration
from cutlayer.report.profiles import page
from cutlayer.report.profiles import terminal as table
from cutlayer.trace import STAGES


def test_the_files_hold_the_same_figures(profiled):
    out, said, data = profiled
    rows = list(csv.DictReader((out / "profile.csv").read_text().splitlines()))
    assert len(rows) == 2 * 2 * 2
    for row in rows:
        told = next(c for c in data["cuts"] if c["cut"] == row["cut"])["networks"][row["network"]][row["codec"]]
        assert int(row["end_to_end_ns"]) == told["end_to_end_ns"]["p50"]
        assert int(row["tail_ns"]) == round(told["stages_ns"]["tail"])
    assert table.text(data) in said


def test_the_page_is_well_formed_and_needs_nothing_else(profiled):
    out, _, data = profiled
    text = (out / "profile.html").read_text()
    opened, seen = [], set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.add(tag)
            if tag != "meta":
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Parser().feed(text)
    assert not opened
    assert {"svg", "table", "polyline", "circle"} <= seen
    assert seen.isdisjoint({"script", "link", "img"})
    assert all(f"s-{stage}" in text for stage in STAGES)
    assert data["cuts"][0]["cut"] in text


def test_the_page_has_every_percentile_of_every_stage(profiled):
    _, _, data = profiled
    text = page.page(data)
    for stage in (*STAGES, "end to end"):
        assert f'<th scope="col">{stage}</th>' in text
    encode = data["cuts"][0]["codecs"]["int8"]["stages_ns"]["encode"]
    assert all(duration(encode[name]) in text for name in ("p50", "p95"))


def test_what_is_known_of_quality_is_drawn_with_its_limits(profiled):
    data = json.loads(json.dumps(profiled[2]))
    for place, cut in enumerate(data["cuts"]):
        for codec in cut["codecs"].values():
            codec |= {"accuracy": {"value": 0.9}, "leakage": {"value": 0.5 + 0.3 * place}}
    without = page.page(data).count('class="reference"')
    data["limits"] = {"latency_ns": None, "leakage": 0.7, "accuracy": 0.8}
    text = page.page(data)
    assert "Leakage gain against end-to-end latency" in text
    # One line for each limit, on each network.
    assert text.count('class="reference"') == without + 2 * len(data["networks"])
    assert "0.800" in table.text(data)


def test_no_choice_within_the_limits_is_said_and_nothing_is_drawn(profiled):
    data = json.loads(json.dumps(profiled[2]))
    data["bandwidth"] |= {"lines": [], "best": []}
    for told in data["recommendations"]:
        told |= {"best": None, "why_none": "No cut keeps the limit on leakage.", "as_good": []}
    for said in (page.page(data), table.text(data)):
        assert "No cut keeps the limit on leakage. The device alone keeps it, and takes" in said
