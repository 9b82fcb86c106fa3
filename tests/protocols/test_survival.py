"""Whatever is killed and started again, the run ends with the bits of the undisturbed one (A2)."""

import pytest
import torch

from cutlayer.protocols.row import PROTOCOLS
from tests.protocols import processes
from tests.protocols.direct import planned
from tests.protocols.survival import World

MORE = {
    "u-shaped": {"end": "relu3"},
    "centralised": {"clients": 1},
    "in step": {"protocol": {"name": "parallel", "sync": "step"}},
    "error feedback": {
        "protocol": "vanilla",
        "codec": {"smashed": "int8", "gradient": "int8", "error_feedback": True},
    },
}
PLANS = (*PROTOCOLS, "in step", "error feedback")


def plan_of(name):
    base = {"protocol": name, "clients": 2, "rounds": 3, "checkpoint_rounds": 1, "evaluate_rounds": 3}
    return planned(**base | MORE.get(name, {}))


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.mark.parametrize("protocol", PLANS)
def test_a_run_whose_parties_are_killed_ends_with_the_same_bits(tmp_path, protocol):
    plan = plan_of(protocol)
    calm = World(plan, tmp_path / "calm", f"inprocess://calm-{protocol}")
    undisturbed = calm.train()
    assert set(calm.lives.values()) == {1}
    n = calm.asks
    deaths = {0: {n // 3: "", n: ""}, 1: {4: "after", 17: "before"}}
    if plan.clients > 1:
        deaths[2] = {9: "after"}
    wild = World(plan, tmp_path / "wild", f"inprocess://wild-{protocol}", deaths)
    assert_same(wild.train(), undisturbed)
    assert wild.lives[0] == 3
    assert wild.lives[1] == 3


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PLANS)
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


@pytest.mark.parametrize(("transport", "protocol"), [("zmq", "vanilla"), ("grpc", "splitfed-v1")])
def test_processes_that_are_killed_with_sigkill_and_started_again_end_with_the_same_bits(tmp_path, transport, protocol):
    """A2 as it is: real processes, over sockets."""
    plan = plan_of(protocol)
    undisturbed = World(plan, tmp_path / "calm", f"inprocess://processes-{protocol}").train()
    deaths = {0: [17, 12], 1: [9], 2: [14]}
    assert_same(processes.run(plan, tmp_path / "wild", f"{transport}://127.0.0.1:0", deaths), undisturbed)
