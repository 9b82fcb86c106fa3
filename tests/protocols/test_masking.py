"""Secure aggregation over the training service: the mean is that of fixed point, and the server sees masked numbers."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from cutlayer.cloud.training.coordinator import Coordinator
from cutlayer.defenses.updates.fixed import decoded, encoded, limit
from cutlayer.defenses.updates.secure_aggregation import Keys
from cutlayer.errors import ConfigError, DecodeError, Refused
from cutlayer.protocols import masking
from cutlayer.protocols.plan import Masking, load, parse, toml
from cutlayer.protocols.schedule import chosen
from cutlayer.protocols.sight import sees
from cutlayer.wire.training import Call, Reply, packed, unpacked
from tests.protocols.direct import Direct, Run, planned
from tests.protocols.survival import World

PROTOCOLS = ["fedavg", "splitfed-v1", "splitfed-v2", "parallel", "local-loss"]


def secure(protocol: str = "fedavg", **changes: Any) -> Any:
    return planned(protocol, **{"secure_aggregation": True, **changes})


@pytest.mark.parametrize(("protocol", "weighting"), [*((name, "samples") for name in PROTOCOLS), ("fedavg", "uniform")])
def test_the_mean_of_a_round_is_that_of_fixed_point_exactly_and_nearly_that_without(protocol, weighting):
    plan = secure(protocol, weighting=weighting, rounds=1)
    run = Run(plan).checked()
    (averaged,) = (event.what["weights"] for event in run.heard if event.name == "averaged")
    heads = {k: next(e.what["weights"] for e in run.seen[k] if e.name == "delivered") for k in run.clients}
    counts = {k: len(data.labels) if weighting == "samples" else 1 for k, data in run.data.items()}
    for name, value in heads[1].items():
        if not value.is_floating_point():
            assert torch.equal(averaged[name], torch.stack([head[name] for head in heads.values()]).amax(0))
            continue
        words = [
            encoded(head[name], 20, limit(20), counts[k] / sum(counts.values())) for k, head in sorted(heads.items())
        ]
        expected = decoded(np.sum(words, 0, dtype=np.uint32), 20).astype(np.float32)
        assert np.array_equal(averaged[name].numpy(), expected), name
    plain = Run(dataclasses.replace(plan, secure_aggregation=None)).checked()
    for name, value in plain.coordinator.tails.weights().items():
        torch.testing.assert_close(averaged[name], value, rtol=0, atol=1e-5)


def test_the_server_gets_uniform_numbers_and_the_counters_of_batches():
    run = Run(secure(rounds=1)).checked()
    collected = {event.client: event.what["weights"] for event in run.heard if event.name == "collected"}
    delivered = {ask.session: unpacked(ask.tensors["weights"]) for ask in run.asked if "weights" in ask.tensors}
    assert len(collected) == len(delivered) == 3
    for sent in (*collected.values(), *delivered.values()):
        assert {value.dtype for name, value in sent.items() if "num_batches" not in name} == {torch.int32}
        words = torch.cat([value.flatten() for value in sent.values() if value.dtype == torch.int32]).double()
        ranks = (words + 2**31) / 2**32
        assert abs(ranks.mean() - 0.5) < 5 * (1 / 12 / len(ranks)) ** 0.5
        expected = len(ranks) / 8
        assert ((torch.histc(ranks, 8, 0, 1) - expected).abs() < 6 * expected**0.5).all()
    assert "mean of the clients' weights" in sees(run.plan)[0]
    assert "mean of the clients' heads" in sees(secure("splitfed-v1"))[0]


def test_only_the_clients_of_a_round_share_masks_in_it():
    plan = secure(sampling=0.6, rounds=4, clients=3)
    run = Run(plan).checked()
    assert {tuple(chosen(plan, round)) for round in (1, 2, 3, 4)} != {(1, 2, 3)}
    plain = Run(dataclasses.replace(plan, secure_aggregation=None)).checked()
    for name, value in plain.coordinator.tails.weights().items():
        torch.testing.assert_close(run.coordinator.tails.weights()[name], value, rtol=0, atol=1e-4)


@pytest.mark.parametrize("protocol", ["fedavg", "splitfed-v2"])
def test_parties_that_are_killed_end_with_the_bits_of_the_undisturbed_run(tmp_path, protocol):
    """Keys are made anew with each turn, so that a client needs none of those that died with it."""
    plan = secure(protocol, clients=2, checkpoint_rounds=1, evaluate_rounds=2)
    calm = World(plan, tmp_path / "calm", f"inprocess://calm-masked-{protocol}")
    undisturbed = calm.train()
    n = calm.asks
    wild = World(
        plan, tmp_path / "wild", f"inprocess://wild-masked-{protocol}",
        {0: {n // 3: "", n - 4: ""}, 1: {3: "after", 4: "before"}, 2: {3: "before"}},
    )  # fmt: skip
    found = wild.train()
    assert wild.lives[0] == 3
    assert wild.lives[1] + wild.lives[2] >= 3
    assert found.keys() == undisturbed.keys()
    assert all(torch.equal(value, undisturbed[name]) for name, value in found.items())


def test_a_weight_that_cannot_be_summed_ends_the_training_for_everybody_and_is_named():
    run = Run(secure(secure_aggregation={"bits": 30}, optimizer={"lr": 3.0}, rounds=1))
    assert len(run.errors) == 3
    for error in run.errors:
        assert isinstance(error, Refused)
        assert "beyond the range of secure_aggregation, which fewer bits widen, at the end of round 1" in str(error)


def turn(keys: dict[int, bytes], **parameters: Any) -> Reply:
    return Reply(1, {"share": 0.3, **parameters}, {"keys": masking.roster(keys)})


def test_a_client_does_not_mask_with_keys_of_others_than_the_clients_of_the_round():
    plan, own = secure(), Keys()
    others = {2: Keys().public, 3: Keys().public}
    weights = {"w": torch.ones(3)}
    assert masking.hidden(plan, 1, 1, own, turn({1: own.public, **others}), weights)["w"].dtype == torch.int32
    for reply, words in (
        (Reply(1, {"share": 0.3}), "no keys"),
        (turn({1: own.public, 2: others[2]}), "not those of the 3 clients"),
        (turn({1: Keys().public, **others}), "another one as that of this client"),
        (turn({1: own.public, 2: others[2], 3: others[2]}), "a key twice"),
        (turn({1: own.public, **others}, share=2.0), "no share"),
        (turn({1: own.public, 2: others[2], 3: bytes(32)}), "no X25519 key"),
    ):
        with pytest.raises(DecodeError, match=words):
            masking.hidden(plan, 1, 1, own, reply, weights)


def test_a_server_that_hands_out_keys_of_its_own_reads_the_weights():
    """What nothing here prevents, as nobody certifies a key: docs/training.md says so."""
    plan, client, server = secure(), Keys(), {2: Keys(), 3: Keys()}
    weights = {"w": torch.linspace(-1, 1, 5)}
    public = {1: client.public, **{other: keys.public for other, keys in server.items()}}
    sent = masking.hidden(plan, 1, 1, client, turn(public), weights)["w"].numpy().view(np.uint32)
    for other, keys in server.items():
        sent = sent - keys.mask(client.public, f"{plan.id} 1 1 {other}".encode(), 5)
    assert np.allclose(decoded(sent, 20), 0.3 * weights["w"].numpy(), atol=1e-6)


class Plain(Direct):
    """A client that does not mask what it delivers, or sends no key."""

    def __init__(self, coordinator: Coordinator, client: int, without: Call) -> None:
        super().__init__(coordinator, f"session {client}", [])
        self.without = without

    def submit(self, call: Call, parameters: Any = (), tensors: Any = ()) -> Any:
        if call is self.without:
            tensors = {"weights": packed(self.coordinator.tails.weights())} if call is Call.AGGREGATE else {}
        return super().submit(call, parameters, tensors)


@pytest.mark.parametrize(
    ("without", "words"),
    [(Call.TURN, "tensor 'key' is missing"), (Call.AGGREGATE, r"in torch.float32; at this server .* torch.int32")],
)
def test_a_client_that_does_not_mask_is_refused(without, words):
    # Alone in its process: the others would wait for it.
    plan = dataclasses.replace(secure(), clients=1)
    run = Run(plan, session=lambda coordinator, k: Plain(coordinator, k, without))
    with pytest.raises(Refused, match=words):
        run.checked()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": "vanilla"}, "weights that are averaged at the end of a round"),
        ({"protocol": {"name": "parallel", "sync": "step"}}, "weights that are averaged at the end of a round"),
        ({"stragglers": "drop"}, "Set stragglers = 'wait'"),
        ({"stragglers": "replace"}, "Set stragglers = 'wait'"),
        ({"optimizer_state": "average"}, "in the clear"),
        ({"protocol": "splitfed-v1", "cut": ["pool", "pool", "relu1"]}, "the same layers"),
        ({"sampling": 0.3}, "a greater sampling"),
        ({"clients": 1}, "two clients or more"),
        ({"secure_aggregation": 1}, "true, false or a table"),
        ({"secure_aggregation": {"bits": 31}}, "secure_aggregation.bits must be"),
        ({"secure_aggregation": {"peer": 3}}, "did you mean peers"),
    ],
)
def test_what_cannot_be_masked_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        secure(**{"protocol": "fedavg", **changes})


def test_a_plan_without_it_keeps_its_id_and_one_with_it_is_written_and_read(tmp_path):
    # The id that this plan had before there was secure aggregation.
    table = {"data": "digits", "model": "lenet", "cut": "relu2", "protocol": "splitfed-v1"}
    assert parse(table).id == parse({**table, "secure_aggregation": False}).id == "dbb269737ff7"
    plan = secure(secure_aggregation={"peers": 4})
    assert plan.secure_aggregation == Masking(4, 20)
    assert len({plan.id, secure().id, planned("fedavg").id}) == 3
    (tmp_path / "plan.toml").write_text(toml(plan))
    assert load(tmp_path / "plan.toml").id == plan.id
    changed = load(tmp_path / "plan.toml", {"secure_aggregation": "true"})
    assert changed.id == copy.copy(secure()).id
    assert load(tmp_path / "plan.toml", {"secure_aggregation.bits": "16"}).secure_aggregation == Masking(4, 16)
