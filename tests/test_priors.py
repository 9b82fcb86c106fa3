"""The benchmark of the priors at a deep cut, which is made for a GPU, runs on a processor at its smallest size."""

import pytest

from benchmarks.priors import main, suite
from cutlayer.registry import ATTACKS


@pytest.mark.parametrize("size", ["full", "small", "tiny"])
def test_every_row_is_an_attack_with_options_that_it_has(size):
    for label, (name, options) in suite(size).items():
        ATTACKS.make(name, **options)
        assert label.startswith(name)


def test_it_runs_to_its_end(capsys):
    rows = ("deep-prior", "diffusion-prior of decoder")
    main(model="he_lenet", data="photos", cut="pool1", size="tiny", only=rows, private=4, auxiliary=40)
    printed = capsys.readouterr().out
    assert all(any(line.startswith(row) and "%" in line for line in printed.splitlines()) for row in rows)
