import re

import pytest
import torch

from benchmarks import gpu


def test_every_part_runs_to_the_end_without_a_card(capsys):
    with torch.random.fork_rng(devices=[]):
        gpu.main(tiny=True)
    table = capsys.readouterr().out
    for row in (
        r"^bf16 matrix product, .* TFLOP/s$",
        *(rf"^{capacity}, ours +[\d,]+ " for capacity in gpu.CAPACITIES),
        *(rf"^white-box, {n} images of {side}x{side}" for side, n in gpu.TINY.searched),
        r"^undefended +accuracy +[\d.]+ % \(n=10\)$",
        r"^ResSFL +accuracy ",
        r"^  map on top of it, 1 steps +MSE 0\.\d{4} ",
    ):
        assert re.search(row, table, re.MULTILINE), table
    laws = [float(line.split()[-1]) for line in table.splitlines() if "/s" in line and line.startswith(tuple(
        type(defense).__name__ for defense in gpu.RANDOM
    ))]  # fmt: skip
    assert len(laws) == len(gpu.RANDOM)
    assert min(laws) > 1e-3, "the card's noise has another law than the device's"


def test_a_part_that_fails_is_named_and_the_others_go_on(capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("the card is gone")

    for part in ("matrix_rates", "decoder_rows", "defense_rows", "ressfl_rows"):
        monkeypatch.setattr(gpu, part, lambda *_, part=part: print(part) or {})
    monkeypatch.setattr(gpu, "white_box_rows", fail)
    with pytest.raises(SystemExit, match="1"):
        gpu.main(tiny=True)
    told = capsys.readouterr().out
    assert "The part white-box failed" in told
    assert "the card is gone" in told
    assert told.index("decoder_rows") < told.index("white-box failed") < told.index("defense_rows")
    assert "ressfl_rows" in told
    assert told.rstrip().endswith("failed: white-box")


def test_the_operations_of_a_training_step_are_those_counted_by_hand():
    network = torch.nn.Conv2d(2, 3, 3, padding=1, bias=False)
    forward = 2 * 8 * 8 * 2 * 3 * 3 * 3
    assert gpu.flops_of_training(network, (2, 8, 8)) == 2 * forward, "no gradient is needed of what arrives"


def test_a_rate_counts_what_was_done():
    assert gpu.per_second(lambda: 5.0, 0.01) > 0
