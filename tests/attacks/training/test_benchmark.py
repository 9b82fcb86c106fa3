"""The benchmark of attacks on a training, which is made for a GPU, runs on a processor at its smallest size."""

import pytest

from benchmarks.training_attacks import SIZES, main
from cutlayer.attacks.training.training_inversion import system


@pytest.mark.parametrize("size", SIZES)
def test_every_attack_is_a_system_with_options_that_it_has(size):
    assert all(system(name, **options) for victim in SIZES[size].victims for _, name, options in victim.attacks)


def test_every_attack_takes_a_step_and_stops_in_time(capsys):
    main(size="tiny", minutes=0, detect=False)
    lines = capsys.readouterr().out.splitlines()
    titles = [title for victim in SIZES["tiny"].victims for title, *_ in victim.attacks]
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == titles
    assert sum("mean image: MSE" in line for line in lines) == len(titles)
    assert sum(line.strip().startswith("step      1: MSE") for line in lines) == len(titles)
    assert sum("stopped after 1 of 4 steps" in line for line in lines) == len(titles)
