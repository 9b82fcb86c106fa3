from dataclasses import replace

import pytest

from cutlayer.records.reading import Run
from cutlayer.records.run import FailedAttack
from cutlayer.report.runs.groups import group as groups
from cutlayer.report.runs.sections import attacks as section
from cutlayer.report.runs.tables import attacks
from cutlayer.report.runs.terminal import text
from tests.report.conftest import read_results


@pytest.fixture
def results(runs):
    return read_results(runs)


def test_it_fits_the_terminal_and_is_plain(results):
    assert max(map(len, text(results).splitlines())) <= 120
    assert text(results).isascii()


def test_the_headline_equals_the_record(results):
    line = next(line for line in text(results).splitlines() if line.startswith("gaussian-noise sigma=0.5"))
    psnr = f"{results[1].worst_case.metrics['psnr'].value:.2f} dB"
    assert all(value in line for value in ("77.4 %", "-3.0", "white-box", "64.0 %", psnr, "33.1 kB"))


def test_every_attack_has_its_leakage_under_every_defense(results):
    lines = text(results).splitlines()
    assert any(line.split() == ["ridge", "black-box", "88.0", "%", "58.7", "%", "29.3", "%"] for line in lines)
    assert any(line.startswith("averaging ridge x16") for line in lines)


def test_long_names_and_many_defenses_stay_within_the_width(results):
    labels = [f"gaussian-noise sigma={sigma} noise_aware_epochs=10" for sigma in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    printed = text([replace(results[1], id=f"{i:012x}", defense_label=label) for i, label in enumerate(labels)])
    assert max(map(len, printed.splitlines())) <= 120
    assert printed.count("LEAKAGE BY ATTACK") == 2


def test_of_several_deployments_an_attack_has_the_figure_that_its_worst_case_has(results):
    second = [a for a in results[0].privacy if a.label == "ridge"][-1]
    assert second.deployment != results[0].privacy[0].deployment
    more = replace(second, leakage_gain=replace(second.leakage_gain, value=0.913))
    found = [f for f in results[0].identification if f.label == "ridge"][-1]
    named = replace(found, top_1=replace(found.top_1, value=0.977))
    swapped = replace(
        results[0],
        privacy=tuple(more if a is second else a for a in results[0].privacy),
        identification=tuple(named if f is found else f for f in results[0].identification),
    )
    lines = [" ".join(line.split()) for line in text([swapped]).splitlines()]
    assert "ridge black-box 91.3 %" in lines
    assert "ridge, in pixels black-box 97.7 %" in lines
    assert "that of the deployment where it gets most." in " ".join(lines)
    one = replace(results[0], cost=results[0].cost[:1])
    assert "where it gets most" not in text([one])


def test_flags_are_named_or_their_absence_is(results):
    assert "! weaker-beats-stronger (gaussian-noise sigma=0.5): ridge beats white-box" in text(results[:2])
    assert "No red flags." in text(results[:1])


def test_a_missing_percentile_is_a_dash(results):
    results[0].cost[0].end_to_end["p95"] = None
    line = next(line for line in text(results[:1]).splitlines() if line.startswith("zmq-onnx"))
    assert line.split()[-2:] == ["-", "300"]


def test_where_the_attackers_sit_is_said_where_it_is_not_the_server(results):
    assert "The attacker is" not in text(results)
    vantage = replace(results[0], vantage="servers", servers=3, access="BLACK_BOX")
    assert "The attacker is 3 servers together" in text([vantage])
    assert "At most black-box access" in text([vantage])
    (group,) = groups([Run(replace(results[0], vantage="encrypted-link"))])
    assert "it sees their lengths and times" in section(group)


def test_an_attack_that_failed_is_in_the_tables_with_the_reason(results):
    failed = (FailedAttack(attack="map", label="map", access="WHITE_BOX", reason="It diverged."),)
    lines = text([results[0], replace(results[1], failed=failed)]).splitlines()
    assert any(line.split() == ["map", "white-box", "-", "failed"] for line in lines)
    (group,) = groups([Run(results[0]), Run(replace(results[1], failed=failed))])
    assert "failed: It diverged." in "".join(attacks(group))


def test_a_record_cannot_steer_the_terminal(results):
    assert "\x1b" not in text([replace(results[0], defense_label="\x1b[2Jcleared")])


def test_the_share_identified_is_that_of_the_best_attack_and_each_has_a_row(results):
    line = next(line for line in text(results).splitlines() if line.startswith("gaussian-noise sigma=2.0"))
    assert f"{results[2].identified.top_1.value:.1%}".replace("%", " %") in line
    lines = [" ".join(line.split()) for line in text(results).splitlines()]
    assert any(line.startswith("IDENTIFIED AMONG 64 CANDIDATES ACCESS no defense") for line in lines)
    assert "watch-list white-box 100.0 % 95.0 % 80.0 %" in lines
    assert "watch-list n_releases=8 white-box - 98.9 % 95.6 %" in lines
    assert "ridge, in pixels black-box 86.2 % 57.5 % 28.7 %" in lines


def test_an_old_record_has_the_share_in_pixels_and_a_flag(results):
    old = [replace(result, identification=()) for result in results[:1]]
    printed = " ".join(text(old).split())
    assert "IDENTIFIED" in printed
    assert "No watch list was played against no defense: there it is the figure in pixels." in printed
    assert "! no-watch-list: The records of no defense are of an older version" in printed
