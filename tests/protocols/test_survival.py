"""Whatever is killed and started again, the run ends with the bits of the undisturbed one (A2)."""

import contextlib
import threading
import time

import pytest
import torch

from cutlayer.edge.training.session import Session
from cutlayer.errors import Refused
from cutlayer.protocols.checkpoint import Checkpoints
from cutlayer.protocols.row import PROTOCOLS
from cutlayer.wire.connect import connect
from cutlayer.wire.training import Call
from tests.protocols import processes
from tests.protocols.direct import CLASSES, planned
from tests.protocols.survival import TIMES, Vanished, World, take_part

MORE = {
    "u-shaped": {"end": "relu3"},
    "centralised": {"clients": 1},
    "parallel": {"protocol": {"name": "parallel", "sync": "step"}},
    # What a codec has lost is state, too.
    "vanilla": {"codec": {"smashed": "int8", "gradient": "int8", "error_feedback": True}},
}


def plan_of(name):
    base = {"protocol": name, "clients": 2, "rounds": 2, "checkpoint_rounds": 1, "evaluate_rounds": 2}
    return planned(**base | MORE.get(name, {}))


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_run_whose_parties_are_killed_ends_with_the_same_bits(tmp_path, protocol):
    plan = plan_of(protocol)
    calm = World(plan, tmp_path / "calm", f"inprocess://calm-{protocol}")
    undisturbed = calm.train()
    assert set(calm.lives.values()) == {1}
    n = calm.asks
    deaths = {0: {n // 3: "", n - 4: ""}, 1: {3: "after", 8: "before"}}
    if plan.clients > 1:
        deaths[2] = {7: "after"}
    wild = World(plan, tmp_path / "wild", f"inprocess://wild-{protocol}", deaths)
    assert_same(wild.train(), undisturbed)
    assert wild.lives[0] == 3
    # How often the run goes back depends on the order of the deaths, and with it whether the second ask comes.
    assert wild.lives[1] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_at_whatever_ask_one_party_is_killed_the_bits_are_the_same(tmp_path, protocol):
    plan = plan_of(protocol)
    calm = World(plan, tmp_path / "calm", f"inprocess://all-{protocol}")
    undisturbed = calm.train()
    moments = [(0, moment, "") for moment in range(1, calm.asks + 1)]
    for client in range(1, plan.clients + 1):
        moments += [(client, n, death) for n in range(1, calm.counts[client] + 1) for death in ("before", "after")]
    for number, (party, moment, death) in enumerate(moments):
        wild = World(plan, tmp_path / f"{number}", f"inprocess://all-{protocol}", {party: {moment: death}})
        assert_same(wild.train(), undisturbed)
        assert wild.lives[party] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("transport", "protocol"), [("zmq", "vanilla"), ("grpc", "splitfed-v1")])
def test_processes_that_are_killed_with_sigkill_and_started_again_end_with_the_same_bits(tmp_path, transport, protocol):
    """A2 as it is: real processes, over sockets."""
    plan = plan_of(protocol)
    undisturbed = World(plan, tmp_path / "calm", f"inprocess://processes-{protocol}").train()
    deaths = {0: [13, 10], 1: [6], 2: [9]}
    assert_same(processes.run(plan, tmp_path / "wild", f"{transport}://127.0.0.1:0", deaths), undisturbed)


@pytest.mark.parametrize("transport", ["zmq", "grpc"])
def test_lost_replies_roll_nothing_back_and_apply_nothing_twice(tmp_path, transport):
    """A3 for whole trainings: each third reply is lost, and its ask comes again."""
    plan = plan_of("splitfed-v2")
    undisturbed = World(plan, tmp_path / "calm", "inprocess://lost").train()
    wild = World(plan, tmp_path / "wild", f"{transport}://127.0.0.1:0", losing=True)
    assert_same(wild.train(), undisturbed)
    assert wild.built == 1


def test_strangers_and_misfits_are_refused_and_the_run_goes_on_undisturbed(tmp_path):
    plan = plan_of("splitfed-v1")
    undisturbed = World(plan, tmp_path / "calm", "inprocess://strangers").train()
    said = []

    def disturb(world):
        """What comes while client 1 is in the middle of a round."""
        mine = {"client": 1, "plan": plan.id, "samples": 21, "classes": CLASSES, "model": "0" * 16}
        for changes in ({}, {"client": 3}, {"client": 0}, {"client": 3, "plan": "another"}):
            with contextlib.closing(connect(world.address, TIMES)) as transport:
                with pytest.raises(Refused) as caught:
                    Session(transport).ask(Call.OPEN, mine | changes)
                said.append(str(caught.value))

    wild = World(plan, tmp_path / "wild", "zmq://127.0.0.1:0", {1: {7: disturb}})
    assert_same(wild.train(), undisturbed)
    assert set(wild.lives.values()) == {1}
    assert "Client 1 takes part already, from 127.0.0.1" in said[0]
    assert "The clients of this plan are 1 to 2; 3 was given." in said[1]
    assert "a whole number from 1 on" in said[2]
    assert "The clients of this plan are 1 to 2" in said[3]


def test_a_client_that_vanished_for_good_is_left_behind_and_not_let_in_again(tmp_path):
    plan = planned(
        "splitfed-v1", clients=3, rounds=3, checkpoint_rounds=1, evaluate_rounds=3, stragglers="drop", straggler_s=0.3
    )

    def vanish(world):
        raise Vanished

    gone = threading.Event()

    def wait_for_it(world):
        """Client 1 lets the others wait until it is seen that client 2 is gone, and that it may not come back."""
        until = time.monotonic() + 20
        while 2 not in world.coordinator.gone and time.monotonic() < until:
            time.sleep(0.02)
        with pytest.raises(Refused, match="The others have gone on without client 2"):
            take_part(plan, 2, world.address, tmp_path / "drop")
        gone.set()

    deaths = {2: {5: vanish}, 1: {13: wait_for_it}}
    world = World(plan, tmp_path / "drop", "inprocess://vanished", deaths)
    weights = world.train()
    assert gone.is_set()
    assert {name.partition("/")[0] for name in weights} == {"0", "1", "3"}
    assert Checkpoints(tmp_path / "drop" / "server", plan.id).last() == 3
