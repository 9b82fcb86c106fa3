"""The plans of the sweep: complete, and each defense goes through training, sockets and every attack of its plan."""

from pathlib import Path

import numpy as np
import pytest

from cutlayer.errors import ConfigError
from cutlayer.experiment import plan
from cutlayer.experiment.run import run_all
from cutlayer.nets import latent
from cutlayer.registry import DEFENSES

PLANS = sorted((Path(__file__).parents[2] / "experiments").glob("defenses-*.toml"))
SHORTEST = "defenses-masks"
"""The plan that always runs; tests/defenses/test_contract.py has every defense without processes."""
LONG = [pytest.mark.slow, pytest.mark.timeout(3600)]
"""A plan of one process for each defense and side takes minutes, and on a busy machine many."""
SMALL = {
    "seed": "0", "training.epochs": "1", "training.images": "96",
    "measure.auxiliary": "64", "measure.count": "6", "measure.private": "4", "measure.warmup": "1",
    "attack.n_releases": "2", "attack.epochs": "1", "attack.iterations": "3", "attack.prior_steps": "4",
    "defense.epochs": "1", "defense.noise_aware_epochs": "1", "defense.pretrain_epochs": "0",
    "defense.iterations": "1", "defense.prior_steps": "4", "defense.n_crafted": "4",
}  # fmt: skip


def small(path):
    """One experiment for each defense of the plan, at sizes that show that it runs and nothing else."""
    settings = {}
    for key, value in SMALL.items():
        try:
            plan.load(path, {key: value})
        except ConfigError:
            continue  # nothing in this plan has the option, or two attacks would become one
        settings[key] = value
    by_defense = {}
    for experiment in plan.load(path, settings):
        by_defense.setdefault(experiment.defense.name, []).append(experiment)
    return [experiments[:2][-1] for experiments in by_defense.values()]


def test_the_plans_hold_every_defense_at_three_strengths_and_two_seeds():
    strengths, seeds = {}, set()
    for experiment in (experiment for path in PLANS for experiment in plan.load(path)):
        strengths.setdefault(experiment.defense.name, set()).add(experiment.defense.key)
        seeds.add(experiment.seed)
    assert strengths.keys() == {name for name in DEFENSES if "image" in DEFENSES.load(name).kinds}
    assert all(len(keys) >= 3 for name, keys in strengths.items() if name != "none")
    assert seeds == {0, 1}


def averages(named):
    """Whether an attack averages releases, which only a random defense is attacked with."""
    return "averaging" in (named.name, named.options.get("attack"))


@pytest.fixture
def little_is_learned(monkeypatch):
    """Priors as they begin, those of attacks within attacks too, whose options `SMALL` does not reach."""
    amortize = latent.amortize
    monkeypatch.setattr(latent.wgan, "fit", lambda *args: None)
    monkeypatch.setattr(latent, "amortize", lambda prior, head, steps, seed: amortize(prior, head, 1, seed))


@pytest.mark.usefixtures("little_is_learned")
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[] if path.stem == SHORTEST else LONG) for path in PLANS],
)
def test_every_defense_goes_the_whole_way(path, tmp_path):
    experiments = small(path)
    results = run_all(experiments, tmp_path, resume=True, data_root=None, say=lambda text: None)
    for experiment, result in zip(experiments, results, strict=True):
        random = any(attack.n_releases > 1 for attack in result.privacy)
        labels = {attack.label for attack in result.privacy}
        expected = {named.label for named in experiment.attacks if random or not averages(named)}
        assert labels == expected
        assert all(np.isfinite(attack.leakage_gain.value) for attack in result.privacy)
        assert result.cost[0].n == 6
        assert result.defense["name"] == experiment.defense.name
