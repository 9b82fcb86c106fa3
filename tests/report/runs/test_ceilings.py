from dataclasses import replace

import pytest

from cutlayer.records.reading import Run, read
from cutlayer.records.run import Ceiling, CeilingAt, Estimate
from cutlayer.report.runs.groups import group
from cutlayer.report.runs.page import page
from cutlayer.report.runs.terminal import text
from tests.report.conftest import read_results


@pytest.fixture
def results(runs):
    return read_results(runs)


def lines_of(results, start):
    return [line for line in text(results).splitlines() if line.startswith(start)]


def test_each_figure_is_for_as_many_releases_as_the_worst_attack_of_its_kind(results):
    assert results[1].identified.n_releases == 8
    assert results[1].worst_case.n_releases == 1
    at_16, at_1 = (results[1].ceiling.over(n) for n in (8, 1))
    expected = f"{at_16.identified.high:.0%} / {at_1.leakage_gain.high:.0%}".replace("%", "")
    assert expected in lines_of(results, "gaussian-noise sigma=0.5")[0]


def test_it_stands_beside_the_worst_attack_for_as_many_releases(results):
    results = [replace(result, identification=()) for result in results]
    assert "96.0 % none" in " ".join(lines_of(results, "no defense")[0].split())
    assert "92 / 68" in lines_of(results, "gaussian-noise sigma=0.5")[0]
    most = replace(results[1].worst_case, n_releases=16)
    assert "92 / 98" in lines_of([replace(results[1], worst_case=most)], "gaussian-noise")[0]
    beyond = replace(results[1].worst_case, n_releases=64)
    assert " / " not in lines_of([replace(results[1], worst_case=beyond)], "gaussian-noise")[0]


def test_the_table_has_every_number_of_releases_and_the_assumptions_are_one_line(results):
    printed = text(results)
    head = printed.split("CEILING: ")[1].splitlines()[0]
    assert all(title in head for title in (" 1 RELEASE ", " 4 RELEASES", " 16 RELEASES", "GONE AFTER"))
    assert "92.0 / 67.7" in printed
    assert "no ceiling: deterministic" in printed
    assert "one of 64 candidates" in " ".join(printed.split())
    gone = [line.split()[-1] for line in lines_of(results, "gaussian-noise") if " / " in line][2:]
    assert gone == ["21", "65,536"]


def test_the_page_has_a_section(runs):
    html = page(*read(runs))
    assert html.count("What no attacker exceeds") >= 1
    assert "more than 65,536" in html
    assert "Ceiling, %" in html


def test_records_without_a_ceiling_have_no_column(results):
    old = [replace(result, ceiling=None) for result in results]
    assert "CEILING" not in text(old)


def test_an_unknown_density_is_no_ceiling_either(results):
    unknown = [results[0], replace(results[1], ceiling=Ceiling("density unknown"))]
    assert "no ceiling: density unknown" not in text(unknown), "no setting has one, and there is no table"
    assert lines_of(unknown, "gaussian-noise")[0].count("unknown") == 1
    assert "no ceiling: density unknown" in text([*unknown, results[2]])


def test_seeds_have_one_ceiling(results):
    def bound(value, gone):
        at = CeilingAt(1, *[Estimate(value, 100, value - 0.1, value + 0.1)] * 2)
        return Ceiling("", 64, (at,), gone, 65536)

    pair = [replace(results[1], id=f"{seed}" * 12, seed=seed) for seed in (0, 1)]

    def ceiling(*of_seeds):
        runs = [Run(replace(result, ceiling=ceiling)) for result, ceiling in zip(pair, of_seeds, strict=True)]
        return group(runs)[0].settings[0].ceiling

    both = ceiling(bound(0.4, 7.0), bound(0.6, None))
    assert (both.at[0].identified.value, both.at[0].identified.high) == (0.5, 0.7)
    assert both.gone_after == 7
    assert ceiling(bound(0.4, 7.0), None) is None
    assert ceiling(bound(0.4, 7.0), Ceiling("deterministic")).none == "deterministic"
