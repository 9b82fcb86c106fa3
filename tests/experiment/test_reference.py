from collections import Counter, defaultdict
from pathlib import Path

import pytest

from benchmarks.reference import CUTS, FULL, QUICK, Size, experiments
from cutlayer.experiment.spec import Experiment
from cutlayer.registry import defense_from

UNTRAINED = {"crafter-distilled"}
"""Defenses that train a network of their own, and not the model."""


def listed(size: Size, folder: Path) -> list[Experiment]:
    weights = {model: folder / f"{model}.pth" for model in ("resnet20", "vgg11_bn")}
    for file in weights.values():
        file.write_bytes(b"weights")
    return list(experiments(size, weights, seed=0))


@pytest.mark.parametrize("size", [QUICK, FULL])
def test_baseline_and_defenses_make_equally_many_epochs(size: Size, tmp_path: Path) -> None:
    for experiment in listed(size, tmp_path):
        defense = defense_from({"name": experiment.defense.name, **experiment.defense.options})
        assert defense.further_epochs == (0 if experiment.defense.name in UNTRAINED else size.epochs), experiment


def test_every_defense_has_two_strengths_at_every_cut(tmp_path: Path) -> None:
    runs = listed(QUICK, tmp_path)
    assert len({experiment.id for experiment in runs}) == len(runs)
    strengths = Counter((experiment.cut, experiment.defense.name) for experiment in runs)
    assert {cut for cut, _ in strengths} == {cut.name for cut in CUTS}
    assert all(n == (1 if name == "none" else 2) for (_, name), n in strengths.items())


def test_the_suite_is_the_same_for_all_defenses(tmp_path: Path) -> None:
    suites = defaultdict(set)
    for experiment in listed(QUICK, tmp_path):
        suites[experiment.defense.name].add(frozenset(attack.label for attack in experiment.attacks))
    shared = frozenset({"mean-image", "ridge", "decoder", "map", "stack"})
    assert suites["none"] == {shared}
    for name, found in suites.items():
        (labels,) = found
        assert shared <= labels, name
