"""A training that was recorded over messages of the real transports, and an attack on what its server has seen."""

import pytest
import torch

from cutlayer.deployment.training import in_process
from cutlayer.errors import ConfigError, DataError
from cutlayer.experiment.gradient_plan import Attacker
from cutlayer.experiment.recorded_updates import attack_transcript
from cutlayer.protocols.plan import parse, toml
from cutlayer.protocols.setup import prepare
from cutlayer.records import gradients as records
from cutlayer.records.files import write_text
from cutlayer.records.training import PLAN as FILE
from cutlayer.tables import Named

PLAN = {
    "data": "digits", "model": "mlp", "protocol": "fedavg", "clients": 3, "rounds": 2, "samples": 6, "test": 20,
    "partition": {"name": "iid", "least": 1}, "optimizer": {"name": "sgd", "lr": 0.1}, "record": True,
}  # fmt: skip
MEAN = Attacker(Named("mean"))


def quiet(_):
    pass


def recorded(folder, **changes):
    plan = parse(PLAN | changes)
    in_process(prepare(plan), folder / plan.id)
    write_text(folder / plan.id / FILE, toml(plan))
    return folder / plan.id


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("federated"))


def test_the_updates_of_each_round_are_attacked_and_scored(run):
    found = attack_transcript(run, [MEAN], say=quiet)
    assert {r.epochs for r in found} == {0, 1}
    for r in found:
        assert (r.wire, r.defense, r.updates, r.samples, r.steps, r.of) == ("fedavg", "none", 3, 2, 1, "client")
        assert r.own.n == 6
    (mean,) = [r for r in found if r.attack == "mean" and r.epochs == 0]
    assert mean.own.leakage_gain.value == 0
    assert records.read(run / records.CELLS / f"{mean.id}.json").own.n == 6


def test_the_update_is_the_gradient_of_the_clients_samples(run):
    """One step of SGD is minus the learning rate times the gradient, at the model that the server has sent."""
    from cutlayer.attacks.gradients.client import gradients
    from cutlayer.experiment.recorded_updates import _updates
    from cutlayer.protocols import plan as plans
    from cutlayer.records.transcript import Transcript

    setup = prepare(plans.load(run / FILE))
    for round in (1, 2):
        made, inputs, labels, _ = _updates(setup, Transcript(run / "server" / "transcript"), round)
        for m, own, of in zip(made, inputs, labels, strict=True):
            exact = gradients(m.observation.model, own, of)
            for name, change in m.observation.update.items():
                assert torch.allclose(change, -0.1 * exact[name], atol=1e-6), name


def test_steps_with_momentum_tell_the_size_of_the_gradient(tmp_path):
    """Momentum makes later steps longer; at a small learning rate the gradient stays the same meanwhile."""
    from cutlayer.attacks.gradients.client import gradients
    from cutlayer.attacks.gradients.update import as_gradient
    from cutlayer.experiment.recorded_updates import _updates
    from cutlayer.protocols import plan as plans
    from cutlayer.records.transcript import Transcript

    run = recorded(tmp_path, epochs=4, rounds=1, optimizer={"name": "sgd", "lr": 1e-3, "momentum": 0.9})
    made, inputs, labels, _ = _updates(
        prepare(plans.load(run / FILE)), Transcript(run / "server" / "transcript"), round=1
    )
    for m, own, of in zip(made, inputs, labels, strict=True):
        assert m.observation.local_steps == 4
        told, exact = as_gradient(m.observation), gradients(m.observation.model, own, of)
        for name, value in exact.items():
            assert torch.linalg.vector_norm(told[name] - value) < 0.05 * torch.linalg.vector_norm(value), name


def test_of_secure_aggregation_the_sum_alone_is_attacked(tmp_path):
    run = recorded(tmp_path, secure_aggregation=True)
    found = attack_transcript(run, [MEAN], rounds=[2], say=quiet)
    assert {(r.of, r.updates, r.samples, r.defense) for r in found if not r.floor} == {
        ("sum", 1, 6, "secure-aggregation")
    }
    assert all(r.own.n == 6 for r in found)


def test_the_defense_of_the_plan_is_named_and_granted(tmp_path):
    run = recorded(tmp_path, update_defense={"name": "noise", "sigma": 0.5})
    found = attack_transcript(run, [MEAN], rounds=[1], say=quiet)
    assert {r.defense_label for r in found} == {"noise sigma=0.5"}
    assert not any(r.failed for r in found)


def test_a_head_alone_is_refused_with_the_reason(tmp_path):
    run = recorded(tmp_path, protocol="splitfed-v1", cut="relu1")
    with pytest.raises(ConfigError, match="a head alone has no loss"):
        attack_transcript(run, [MEAN], say=quiet)


def test_what_was_not_recorded_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="no updates of round 9"):
        attack_transcript(run, [MEAN], rounds=[9], say=quiet)
    (tmp_path / FILE).write_text((run / FILE).read_text())
    with pytest.raises(DataError, match="holds no transcript"):
        attack_transcript(tmp_path, [MEAN], say=quiet)


def test_a_protocol_that_sends_nothing_records_nothing():
    with pytest.raises(ConfigError, match="sends nothing of its samples"):
        parse(PLAN | {"protocol": "local"})
