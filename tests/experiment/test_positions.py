"""What an attacker gets at each position: of a real cloud, of a half and an imitation, of a copy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.answers.view import Reply, SpentError
from cutlayer.data.splits import Dataset
from cutlayer.data.withheld import ClassData
from cutlayer.defenses.base import Defense
from cutlayer.deployment.training import in_process
from cutlayer.errors import ConfigError, WithheldError
from cutlayer.experiment import learned_head, positions
from cutlayer.experiment.class_rounds import averaged, recorded
from cutlayer.experiment.class_victim import ClassVictim
from cutlayer.experiment.positions import POSITIONS, seen_from
from cutlayer.experiment.spec import Experiment
from cutlayer.metrics.interval import exact_proportion
from cutlayer.models.halves import join, split
from cutlayer.protocols import plan as plans
from cutlayer.protocols.setup import prepare
from cutlayer.records.training import PLAN
from cutlayer.registry import ANSWER_DEFENSES, defense_from
from cutlayer.spec import image_spec
from cutlayer.tables import Named
from cutlayer.training import train

INPUT = image_spec(1, 8, 8)
N_PRIVATE = 2


def samples(n, labels, seed):
    """Each class is bright in two rows of its own."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(labels, n)
    inputs = rng.random((n, *INPUT.shape), np.float32) * 0.4
    for label in labels:
        inputs[classes == label, :, 2 * label : 2 * label + 2] += 0.5
    return Dataset(inputs, classes)


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    parts = samples(256, [0, 1], 0), samples(128, [0, 1], 1), samples(256, [2, 3], 2), samples(9, [2, 3], 4)
    data = ClassData("toy", ("a", "b", "c", "d"), N_PRIVATE, *parts)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, N_PRIVATE + 1)
    )
    train(model, data.train, epochs=4, seed=0)
    halves = split(model, "2", INPUT)
    described = {"name": "none"}
    return ClassVictim(
        data, join(halves).requires_grad_(False), Named("none"), ANSWER_DEFENSES.make("none"),
        exact_proportion(1, 1), 0, halves, defense_from(described), described, Experiment("toy", "toy-net", "2"), runs,
    )  # fmt: skip


def seen(position, victim, reply=None, **changed):
    reply = POSITIONS[position].grants if reply is None else reply
    return seen_from(position, victim, reply=reply, targets=(0, 1), **changed)


def inputs(n=7):
    return torch.from_numpy(samples(n, [0, 1], 3).inputs)


def scores_of(position, victim, **changed):
    with seen(position, victim, **changed) as view:
        return view.service.scores(inputs())


@pytest.mark.parametrize("transport", ["zmq", "grpc"])
def test_a_cloud_in_a_process_of_its_own_answers_bit_for_bit_as_in_this_process(victim, transport):
    noisy = {"name": "gaussian-noise", "sigma": 0.1}
    case = replace(victim, described=noisy, cut_defense=defense_from(noisy))
    over_sockets, in_process = (
        scores_of("outsider", case, transport=name, codec="fp16", seed=3) for name in (transport, "inprocess")
    )
    assert torch.equal(over_sockets, in_process)
    plain = torch.log_softmax(victim.model(inputs()), 1)
    torch.testing.assert_close(scores_of("outsider", victim, transport="inprocess"), plain, rtol=1e-4, atol=1e-4)
    assert (over_sockets - plain).abs().max() > 1e-3


def test_a_defended_cloud_tells_what_its_defense_tells(victim):
    case = replace(victim, answers=Named("label-only"), defense=ANSWER_DEFENSES.make("label-only"))
    told = [scores_of("outsider", victim, transport="inprocess").argmax(1)]
    for transport in ("zmq", "inprocess"):
        with seen("outsider", case, Reply.LABEL, transport=transport) as view:
            told.append(view.service.labels(inputs()))
            with pytest.raises(WithheldError):
                view.service.scores(inputs())
    assert torch.equal(told[0], told[1])
    assert torch.equal(told[1], told[2])
    with pytest.raises(ConfigError, match="labels only"), seen("outsider", case, transport="inprocess"):
        pass


def test_a_holder_of_the_head_may_send_smashed_data_of_its_own(victim):
    with seen("head-holder", victim, transport="inprocess", budget=20) as view:
        both = view.service.scores(inputs()), view.tail_service.scores(view.head(inputs()))
        torch.testing.assert_close(*both, rtol=1e-4, atol=1e-4)
        below = view.tail_service.scores(torch.full((1, 4, 4, 4), -5.0))
        torch.testing.assert_close(below, torch.log_softmax(victim.halves.tail(torch.full((1, 4, 4, 4), -5.0)), 1))
        assert view.asked == 15
        for service in (view.service, view.tail_service):
            assert service.left == 5
            with pytest.raises(SpentError):
                service.labels(inputs(6) if service is view.service else torch.zeros(6, 4, 4, 4))
        with pytest.raises(WithheldError):
            _ = view.model


@pytest.mark.parametrize("position", ["cloud", "pushing-cloud"])
def test_a_cloud_has_its_own_half_behind_a_head_that_it_learned(victim, position, monkeypatch):
    monkeypatch.setattr(positions, "CHOSEN", 300)
    monkeypatch.setattr(learned_head, "STEPS", 10 if position == "cloud" else 100)
    kept = {}
    with seen(position, victim, kept=kept) as view:
        fresh = inputs(200).requires_grad_()
        logits = view.model(fresh)
        logits.sum().backward()
        assert fresh.grad.abs().sum() > 0
        assert logits.shape == (200, N_PRIVATE + 1)
        if position == "pushing-cloud":
            assert (logits.argmax(1) == victim.model(fresh).argmax(1)).float().mean() > 0.9
        assert view.asked == (0 if position == "cloud" else 300)
        assert view.shared_s > 0
        with pytest.raises(WithheldError):
            _ = view.head
    with seen(position, victim, kept=kept) as again:
        assert again.model is view.model
        assert again.asked == view.asked


def test_what_a_cloud_has_a_device_compute_counts(victim):
    with pytest.raises(SpentError), seen("pushing-cloud", victim, budget=100):
        pass


def test_a_thief_holds_the_network(victim):
    with seen("thief", victim) as view:
        assert view.model is victim.model
        assert torch.equal(view.service.scores(inputs()), torch.log_softmax(victim.model(inputs()), 1))
    with seen("thief", victim, Reply.SCORES) as view, pytest.raises(WithheldError):
        _ = view.model


def test_what_a_position_does_not_have_is_refused(victim):
    with pytest.raises(ConfigError, match="does not get the victim's weights"), seen("outsider", victim, Reply.WEIGHTS):
        pass
    uncut = replace(victim, halves=None, cut_defense=Defense())
    with pytest.raises(ConfigError, match="the victim is not cut"), seen("cloud", uncut):
        pass
    assert torch.equal(scores_of("outsider", uncut), scores_of("thief", victim))


def test_a_participant_holds_the_network_of_each_round(victim, tmp_path):
    rounds = averaged(
        replace(victim.data, train=victim.data.train.take(60)), name="digits", model="mlp", clients=2, rounds=2,
        lr=1e-2, seed=0, kept=tmp_path / "kept", say=lambda text: None,
    )  # fmt: skip
    with seen("participant", replace(victim, rounds=rounds)) as view:
        assert view.models == rounds
        first, last = (model(inputs()) for model in view.models)
        assert first.shape == (7, N_PRIVATE + 1)
        assert not torch.equal(first, last)
        assert torch.equal(view.service.scores(inputs()), torch.log_softmax(last, 1))
    with pytest.raises(ConfigError, match=r"training\.clients"), seen("participant", victim):
        pass


def test_the_rounds_of_a_recorded_training_are_read(tmp_path):
    plan = plans.parse(
        {"data": "digits", "model": "mlp", "protocol": "fedavg", "clients": 2, "rounds": 2, "samples": 60, "test": 10,
         "record": True}
    )  # fmt: skip
    in_process(prepare(plan), tmp_path)
    (tmp_path / PLAN).write_text(plans.toml(plan))
    data, rounds = recorded(tmp_path)
    assert len(rounds) == 2
    assert rounds[-1](torch.from_numpy(data.held_out.inputs[:3])).shape == (3, len(data.classes))
    assert data.shared
    (last,) = recorded(tmp_path, rounds=[2])[1]
    assert all(torch.equal(value, last.state_dict()[key]) for key, value in rounds[1].state_dict().items())
    with pytest.raises(ConfigError, match="Round 3"):
        recorded(tmp_path, rounds=[3])
