from dataclasses import replace

from cutlayer.report.runs.terminal import text
from tests.report.conftest import read_results


def test_it_fits_the_terminal_and_is_plain(runs):
    printed = text(read_results(runs))
    assert max(map(len, printed.splitlines())) <= 120
    assert printed.isascii()


def test_the_headline_equals_the_record(runs):
    printed = text(read_results(runs))
    line = next(line for line in printed.splitlines() if line.startswith("gaussian-noise sigma=0.5"))
    worst = read_results(runs)[1].worst_case
    for value in ("77.4 %", "-3.0", "white-box", "64.0 %", f"{worst.metrics['psnr'].value:.2f} dB", "33.1 kB"):
        assert value in line


def test_every_attack_has_its_leakage_under_every_defense(runs):
    lines = text(read_results(runs)).splitlines()
    assert any(line.split() == ["ridge", "black-box", "88.0", "%", "58.7", "%", "29.3", "%"] for line in lines)
    assert any(line.startswith("averaging ridge x16") for line in lines)


def test_columns_line_up(runs):
    lines = text(read_results(runs)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("DEFENSE"))
    assert len({len(line) for line in lines[start : start + 5]}) == 1


def test_long_names_and_many_defenses_stay_within_the_width(runs):
    result = read_results(runs)[1]
    labels = [f"gaussian-noise sigma={sigma} noise_aware_epochs=10" for sigma in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    many = [replace(result, id=f"{i:012x}", defense_label=label) for i, label in enumerate(labels)]
    printed = text(many)
    assert max(map(len, printed.splitlines())) <= 120
    assert printed.count("LEAKAGE BY ATTACK") == 2


def test_flags_are_named_or_their_absence_is(runs):
    assert "! weaker-beats-stronger (gaussian-noise sigma=0.5): ridge beats white-box" in text(read_results(runs))
    assert "No red flags." in text(read_results(runs)[:1])


def test_a_missing_percentile_is_a_dash(runs):
    result = read_results(runs)[0]
    result.cost[0].end_to_end["p95"] = None
    line = next(line for line in text([result]).splitlines() if line.startswith("zmq-onnx"))
    assert line.split()[-2:] == ["-", "300"]


def test_a_record_cannot_steer_the_terminal(runs):
    assert "\x1b" not in text([replace(read_results(runs)[0], defense_label="\x1b[2Jcleared")])
