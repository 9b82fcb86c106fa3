"""The part of the page about who is identified."""

from dataclasses import replace

import pytest

from cutlayer.records.reading import Run
from cutlayer.report.runs.claims import SUPPORTED, UNCHECKED, UNSUPPORTED, judge
from cutlayer.report.runs.groups import group
from cutlayer.report.runs.identified import identified
from cutlayer.report.runs.story import inputs_first
from tests.report.conftest import read_results


@pytest.fixture
def one(runs):
    (found,) = group([Run(result) for result in read_results(runs)])
    return found


def test_each_defense_has_a_chart_with_a_line_for_each_way(one):
    page = "".join(identified(one))
    assert page.count("<figure") == 3
    assert (page.count('"cmc list"'), page.count('"cmc waits"'), page.count('"cmc pixels"')) == (3, 2, 3)
    assert page.count('"guess"') == 3
    assert "gaussian-noise sigma=2.0. watch-list: 80.0\N{NO-BREAK SPACE}% at once" in page


def test_every_attack_is_in_the_table_with_both_shares_and_their_intervals(one):
    page = "".join(identified(one))
    n = sum(len(setting.identification) for setting in one.settings)
    assert page.count("among") < page.count("in pixels") + n
    assert page.count("<td>watch list</td>") == 2 + 4 + 4
    assert page.count("<td>in pixels</td>") == n - 10
    assert page.count("82.0 to") + page.count("77.0 to 83.0") >= 1


def test_records_without_any_have_no_section(one):
    old = [Run(replace(result, identification=())) for setting in one.settings for result in setting.results]
    (found,) = group(old)
    assert identified(found) is None


def test_the_story_says_how_often_and_how(one):
    told = "".join(inputs_first(one))
    assert "picked from 64 candidates in 95.6\N{NO-BREAK SPACE}% of cases, by what the device makes of each" in told
    assert "after 8 transmissions of it" in told


def test_several_seeds_are_averaged(one):
    first = one.settings[2].results[0]
    lower = tuple(replace(f, top_1=replace(f.top_1, value=f.top_1.value - 0.1)) for f in first.identification)
    runs = [Run(first), Run(replace(first, id="dddddddddddd", seed=1, identification=lower))]
    (found,) = group(runs)
    (setting,) = found.settings
    assert setting.identified.value == pytest.approx(first.identified.top_1.value - 0.05)
    assert len(setting.identification) == len(first.identification)
    assert setting.identifier == first.identified


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("identified of gaussian-noise sigma=2.0 < identified of none", UNSUPPORTED),
        ("identified of gaussian-noise sigma=2.0 by watch-list < identified of none", SUPPORTED),
        ("identified of gaussian-noise sigma=2.0 by ridge < 0.4", SUPPORTED),
        ("identified of gaussian-noise sigma=2.0 < 0.5", UNSUPPORTED),
        ("identified of none by nobody < 0.5", UNCHECKED),
    ],
)
def test_a_claim_about_the_share_identified_is_judged(one, text, verdict):
    assert judge(one, text)[0] == verdict
