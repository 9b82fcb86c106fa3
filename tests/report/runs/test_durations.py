import re
from dataclasses import replace

import pytest

from cutlayer.report.runs.durations import durations
from tests.report.conftest import read_results


def test_the_parts_add_up_and_each_fit_counts_once(runs):
    results = read_results(runs)
    found = [replace(record, seconds=7.5 * (i == 0)) for i, record in enumerate(results[0].identification)]
    results[0] = replace(results[0], identification=tuple(found), seconds=results[0].seconds | {"predict": 3.0})

    def total(part):
        return sum(result.seconds.get(part, 0.0) for result in results)

    table = durations(results, {"train": 10.0, "rehearse": 2.0}, 400.0)
    rows = {line[:40].strip(): float(re.search(r"([\d.]+) s", line)[1]) for line in table.splitlines()[2:]}
    whole = rows.pop("in all")
    assert whole == 400
    assert sum(rows.values()) == pytest.approx(whole, abs=1)
    assert rows["training"] == pytest.approx(3 * 60.1 + 10, abs=1)
    assert rows["rehearsing the attacks for the budget"] == 2
    assert rows["watch lists"] == 7.5
    assert rows["ceiling of any attacker"] == pytest.approx(total("ceiling"), abs=0.1)
    assert rows["predictors of leakage"] == 3
    # Three runs with a fit of 2.04 s each, and two inversions of 0.13 s.
    assert rows["attack: ridge"] == pytest.approx(3 * (2.04 + 2 * 0.13), abs=0.01)


def test_parts_that_did_not_happen_have_no_row(runs):
    assert "rehearsing" not in durations(read_results(runs), {}, 400.0)
