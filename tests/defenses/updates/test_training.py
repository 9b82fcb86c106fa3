"""The defenses of samples and models in a training of several clients."""

from typing import Any

import pytest
import torch
from torch import nn

from cutlayer.protocols.update_defense import update_defense
from cutlayer.tables import Named
from cutlayer.wire.training import unpacked
from tests.protocols.direct import CLASSES, INPUT, Run, model, planned


def trained(name: str, **options: Any) -> Run:
    def make() -> nn.Module:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return update_defense(Named(name, options)).rebuilt(model(), INPUT, CLASSES)

    plan = planned("fedavg", rounds=1, clients=2, update_defense={"name": name, **options})
    return Run(plan, make=make).checked()


def sent(run: Run) -> dict[str, torch.Tensor]:
    return next(unpacked(ask.tensors["weights"]) for ask in run.asked if "weights" in ask.tensors)


def test_of_hyperfl_the_hypernetwork_travels_and_neither_embedding_nor_classifier():
    names = {name for name in sent(trained("hyperfl", hidden=4, embedding=3)) if ".bn" not in name}
    assert names
    assert {name.partition(".")[0] for name in names} == {"layer", "heads"}
    assert not any("fc2" in name for name in names)


def test_precode_is_trained_on_its_divergence_as_well():
    weak, strong = (sent(trained("precode", size=4, beta=beta)) for beta in (0.0, 1000.0))
    assert weak.keys() == strong.keys()
    assert not torch.allclose(weak["encoder.weight"], strong["encoder.weight"], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "options"), [("vrm", {}), ("dcs2", {"steps": 2}), ("refiner", {"steps": 2}), ("perceptual-hash", {})]
)
def test_samples_are_changed_in_a_training_of_whole_models(name, options):
    plain, changed = sent(trained("none")), sent(trained(name, **options))
    assert not torch.allclose(plain["fc1.weight"], changed["fc1.weight"], atol=1e-4)
