import re

import pytest

from cutlayer.records.reading import read
from cutlayer.report.runs import page as html
from cutlayer.report.runs.groups import family, group
from cutlayer.report.runs.terminal import text
from tests.report.conftest import noise_label, read_results, result, write_run

SIGMAS = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)


@pytest.fixture
def many(tmp_path):
    """A sweep of nine settings, two seeds each; the second seed's accuracy is 2 points higher."""
    for seed in (0, 1):
        for i, sigma in enumerate(SIGMAS):
            record = result(f"{seed}{i:011x}", sigma) | {"seed": seed, "defense_facts": {"snr_db": 10.0 - sigma}}
            record["utility"]["accuracy"]["value"] += 0.02 * seed
            write_run(tmp_path, record)
    return tmp_path


def test_seeds_of_one_setting_become_one_mean(many):
    (sweep_of_noise,) = group(read(many)[0])
    settings = sweep_of_noise.settings
    assert [s.label for s in settings] == ["no defense", *(noise_label(sigma) for sigma in SIGMAS[1:])]
    assert {len(s.members) for s in settings} == {2}
    half = next(s for s in settings if s.label == noise_label(0.5))
    assert half.usefulness.value == pytest.approx(0.804 - 0.03 + 0.01)
    assert half.change.value == pytest.approx(-0.03 + 0.01)
    assert half.leakage.value == pytest.approx(0.96 / 1.5)
    assert half.attack == "white-box"
    assert half.metric("nonsense").n == 0


def curve(page):
    """The points of the line of the only family, in the figure of leakage against accuracy."""
    (points,) = re.findall(r'<polyline points="([^"]+)" class="family', page[: page.index('id="g1-leakage-latency"')])
    return [tuple(map(float, point.split(","))) for point in points.split()]


def test_stronger_noise_lies_further_left_and_lower(many):
    xs, ys = zip(*curve(html.page(read(many)[0], [])), strict=True)
    assert list(xs) == sorted(xs, reverse=True), "less accurate"
    assert list(ys) == sorted(ys), "less leaks"


def test_the_terminal_has_one_line_for_each_setting(many):
    printed = text(read_results(many))
    assert max(map(len, printed.splitlines())) <= 120
    assert all(noise_label(sigma) in printed for sigma in SIGMAS[1:])
    assert "IDENTIFIED" in printed
    assert "Red flags: weaker-beats-stronger (16); see the report." in printed
    assert sum(line.startswith("gaussian-noise") for line in printed.splitlines()) == len(SIGMAS) - 1


def test_few_runs_are_no_sweep(runs):
    assert not any(g.is_sweep for g in group(read(runs)[0]))


def test_names_of_followers_belong_to_the_family():
    followed = {"name": "ressfl", "then": {"name": "gaussian-noise", "sigma": 1}}
    assert family(followed) == "ressfl then gaussian-noise"


def test_a_control_is_a_point_beside_the_curve(many):
    for seed in (0, 1):
        record = result(f"{seed}{99:011x}", 0.3) | {"seed": seed, "defense_label": "gaussian-noise: a control"}
        write_run(many, record)
    page = html.page(read(many)[0], [])
    assert len(curve(page)) == len(SIGMAS) - 1
    assert page.count('class="mark') == 4 * (len(SIGMAS) + 1)
