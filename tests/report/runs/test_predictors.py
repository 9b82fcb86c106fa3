import math
from dataclasses import replace

import pytest

from cutlayer.records.reading import read
from cutlayer.records.run import Ceiling, CeilingAt, Estimate, Predictors
from cutlayer.report.runs import predictors as module
from cutlayer.report.runs.page import page
from cutlayer.report.runs.predictors import NUMBERS, correlations, leaked
from tests.report.conftest import read_results, result, write_run

DFIL, NATS = "Fisher information for each number of an input (dFIL)", "mutual information, if all were normal"


@pytest.fixture
def results(runs):
    """Five runs: the first without noise, the others with a leakage of 0.4 to 0.1 and numbers that rank them."""
    base, noisy, _ = read_results(runs)
    made = [base]
    for i, dfil in enumerate((9.0, 5.0, 2.0, 1.0)):
        numbers = Predictors(n=10, dfil=dfil, van_trees=0.5, nats=-dfil, conditional_entropy=dfil / 10)
        gain = Estimate(0.4 - 0.1 * i, 64, 0.0, 1.0)
        at = CeilingAt(1, gain, gain)
        attacks = tuple(replace(a, leakage_gain=gain) for a in noisy.privacy if a.n_releases == 1)
        bound = Ceiling("", 64, (at,), None, 64)
        made.append(replace(noisy, id=f"{i}", privacy=attacks, predictors=numbers, ceiling=bound))
    return made


def test_an_order_that_is_the_same_is_1_and_the_opposite_is_minus_1_among_the_noisy(results):
    found = correlations(results, leaked)
    assert (found[DFIL].spearman, found[DFIL].kendall, found[DFIL].n) == (pytest.approx(1), pytest.approx(1), 5)
    assert correlations(results[1:], leaked)[NATS].spearman == pytest.approx(-1)
    assert found[NATS].spearman == pytest.approx(0), "without noise, information and leakage are greatest"
    assert found[DFIL].low <= 1 <= found[DFIL].high + 1e-9


def test_what_has_one_value_or_is_unknown_orders_nothing(results):
    found = correlations(results[1:], leaked)
    assert "leakage gain that van Trees allows" not in found
    unknown = [replace(r, predictors=None, ceiling=Ceiling("density unknown")) for r in results]
    assert not {DFIL, NATS} & set(correlations(unknown, leaked))
    assert correlations(results[: module.LEAST - 1], leaked) == {}


def test_every_number_is_read_from_a_record(results):
    values = [number(results[1]) for number in NUMBERS.values()]
    assert all(value is not None and math.isfinite(value) for value in values)


def test_the_page_has_the_table_where_there_are_runs_enough(runs):
    title = "Which cheap number predicts leakage?"
    assert title not in page(*read(runs))
    write_run(runs, result("d" * 12, 3.0))
    html = page(*read(runs))
    assert title in html
    assert "ceiling of the leakage gain, one release" in html
