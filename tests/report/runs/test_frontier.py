"""The four figures of the frontier: marks at their places, intervals, the line of what nothing betters, and words."""

import math
import re

import pytest

from cutlayer.records.reading import read
from cutlayer.report.runs.frontier import LEAKAGE, TIME, UTILITY, frontier, on_the_line, told
from cutlayer.report.runs.groups import group
from tests.report.conftest import DEPLOYMENTS, result, write_run

PANELS = ("leakage-accuracy", "leakage-latency", "identified-accuracy", "identified-latency")


def panel(page: str, name: str) -> str:
    return re.search(rf'<figure class="drawn" id="g1-{name}">.*?</figure>', page, re.S)[0]


def places(drawing: str) -> list[tuple[float, float]]:
    """The centre of every mark."""
    found = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="11.0" class="ring">', drawing)
    return [(float(x), float(y)) for x, y in found]


def bars(drawing: str) -> list[list[float]]:
    """Left, right, top and bottom end of the intervals of every mark that has both."""
    found = re.findall(r'd="M([\d.]+) [\d.]+H([\d.]+)M[\d.]+ ([\d.]+)V([\d.]+)" class="interval', drawing)
    return [list(map(float, ends)) for ends in found]


@pytest.fixture
def noise(runs):
    (found,) = group(read(runs)[0])
    return found


def test_every_setting_is_a_mark_with_both_intervals_in_all_four_figures(noise):
    page = frontier(noise)
    for name in PANELS:
        drawing = panel(page, name)
        assert len(places(drawing)) == 3
        for (x, y), (left, right, top, bottom) in zip(places(drawing), bars(drawing), strict=True):
            assert left <= x <= right
            assert top <= y <= bottom
            assert right - left > 1 or "identified" in name


def test_what_is_more_accurate_is_further_right_and_what_leaks_more_further_up(noise):
    bare, half, two = places(panel(frontier(noise), "leakage-accuracy"))
    assert bare[0] > half[0] > two[0]
    assert bare[1] < half[1] < two[1]


def test_the_line_joins_what_no_other_setting_betters(tmp_path):
    for i, (sigma, accuracy, gain) in enumerate([(0.1, 0.8, 0.9), (0.2, 0.7, 0.95), (0.3, 0.7, 0.5), (0.4, 0.6, 0.5)]):
        record = result(f"{i:012x}", sigma)
        record["utility"]["accuracy"]["value"], record["worst_case"]["leakage_gain"]["value"] = accuracy, gain
        write_run(tmp_path, record)
    (found,) = group(read(tmp_path)[0])
    assert [s.strength for s in on_the_line(found.settings, UTILITY, LEAKAGE)] == ["0.3", "0.1"]
    assert next(s.strength for s in on_the_line(found.settings, TIME, LEAKAGE)) in ("0.3", "0.4")
    drawing = panel(frontier(found), "leakage-accuracy")
    (path,) = re.findall(
        r'<path d="M([\d.]+) ([\d.]+)V([\d.]+)H([\d.]+)V([\d.]+)H([\d.]+)V[\d.]+" class="pareto">', drawing
    )
    at = places(drawing)
    assert list(map(float, path[1:])) == [at[2][1], at[2][1], at[2][0], at[0][1], at[0][0]]


def test_the_time_has_the_interval_of_its_median(noise):
    for setting in noise.settings:
        time, run = setting.request_ns(), setting.members[0].run
        samples = run.traces[f"{DEPLOYMENTS[0]}/end_to_end_ns"]
        assert time.value == run.result.cost[0].end_to_end["p50"]
        assert time.low < time.value < time.high
        assert 0.4 < (samples <= time.high).mean() < 0.6


def test_a_run_without_raw_samples_has_its_time_without_an_interval(runs):
    for folder in runs.iterdir():
        (folder / "requests.npz").unlink()
    (found,) = group(read(runs)[0])
    time = found.settings[0].request_ns()
    assert time.value > 0
    assert math.isnan(time.low)
    assert len(places(panel(frontier(found), "leakage-latency"))) == 3


def test_a_mark_says_what_it_is_and_leads_to_its_setting(noise):
    drawing = panel(frontier(noise), "identified-latency")
    links = re.findall(r'<a href="#(g1-s\d)" class="mark k\d" aria-label="([^"]+)" tabindex="(-?\d)">', drawing)
    assert [(anchor, tab) for anchor, _, tab in links] == [("g1-s0", "0"), ("g1-s1", "-1"), ("g1-s2", "-1")]
    said = links[1][1].replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith(
        "gaussian-noise sigma=0.5: accuracy 77.4 % (73.8 to 81.0), leakage gain 64.0 % (62.5 to 65.5)"
    )
    assert said == told(noise)["g1-s1"].replace("\N{NO-BREAK SPACE}", " ")


def test_a_setting_that_lacks_a_figure_has_no_mark_there(runs, noise):
    settings = [s for s in noise.settings if not s.undefended]
    assert on_the_line(settings, UTILITY, LEAKAGE)
    for run_id in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        record = result(run_id, 0.0 if run_id[0] == "a" else 0.5) | {"worst_case": None, "identification": []}
        (runs / run_id / "result.json").write_text(__import__("json").dumps(record))
    assert frontier(group(read(runs)[0])[0]) is None


def test_where_seeds_differ_every_attack_behind_the_mean_is_named(tmp_path):
    for seed, name in enumerate(("decoder", "ridge", "decoder")):
        record = result(f"{seed:012x}", 0.5)
        record["seed"], record["worst_case"]["label"] = seed, name
        write_run(tmp_path, record)
        write_run(tmp_path, {**result(f"{seed + 8:012x}", 1.0), "seed": seed})
    (found,) = group(read(tmp_path)[0])
    assert found.settings[0].attackers == "decoder or ridge"
    assert "by decoder or ridge" in frontier(found)
