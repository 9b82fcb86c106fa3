"""The cable keeps what it promises, where this machine lets one be made."""

import contextlib
import subprocess

import pytest

from cutlayer.errors import ConfigError
from cutlayer.network import namespaces
from cutlayer.network.namespaces import two_hosts
from cutlayer.network.profiles import NETWORKS, network_named


@contextlib.contextmanager
def cable_of(text):
    with contextlib.ExitStack() as stack:
        try:
            cable = stack.enter_context(two_hosts(network_named(text)))
        except ConfigError as error:
            pytest.skip(str(error))
        yield cable


def test_hosts_see_each_other_and_nothing_else():
    with cable_of("loopback") as (device, server, label, left, _):
        assert label == "unshaped network namespaces"
        assert not left.shapes
        shown = subprocess.run([*device.within, "ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        assert sorted(line.split()[1].partition("@")[0].rstrip(":") for line in shown.splitlines()) == ["cable", "lo"]
        assert device.address != server.address


def test_nothing_is_left_behind():
    with cable_of("16mbit:8mbit/10ms") as (device, _, label, left, _):
        assert label.startswith(("tc netem in network", "tc tbf in network"))
        assert label.endswith("by an application-level shaper") == left.shapes
    assert subprocess.run([*device.within, "true"], capture_output=True, check=False).returncode


def recorded(monkeypatch, refuse=()):
    """Have commands noted and not run, but for those that hold the namespaces; some words are refused."""
    ran = []

    def failure(within, command):
        ran.append(command)
        return next((f"Error: {word} is unknown." for word in refuse if word in command), "")

    monkeypatch.setattr(namespaces, "_failure", failure)
    monkeypatch.setattr(namespaces, "_namespace", lambda command: contextlib.nullcontext(4711))
    return ran


def test_netem_does_all_of_it_where_the_kernel_has_it(monkeypatch):
    ran = recorded(monkeypatch)
    with two_hosts(network_named("14.48mbit/40ms/5ms/0.1%")) as (_, _, label, left, _):
        assert label == "tc netem in network namespaces"
        assert not left.shapes
    shaping = [command for command in ran if command.startswith("tc ")]
    assert len(shaping) == 2
    for command in shaping:
        # The rate is that of frames, of which 1448 bytes in 1514 are payload; the limit holds what is under way.
        assert command.endswith("netem limit 1056 delay 40000us 5000us loss 0.100000% rate 15140000bit")


def test_tbf_keeps_the_rate_and_leaves_the_rest(monkeypatch):
    ran = recorded(monkeypatch, refuse=("netem",))
    with two_hosts(NETWORKS["nbiot"]) as (_, _, label, left, _):
        assert label == "tc tbf in network namespaces; delay, jitter and loss by an application-level shaper"
        assert (left.delay_s, left.shapes) == (0.8, True)
        assert left.up_bps == left.down_bps == float("inf")
    assert [command.split()[8] for command in ran if "tbf" in command] == ["64826bit", "27185bit"]


def test_what_the_machine_does_not_allow_is_one_sentence(monkeypatch):
    recorded(monkeypatch, refuse=("netem", "tbf"))
    with pytest.raises(ConfigError, match=r"cannot create .*tbf is unknown.*application-level shaper"):
        two_hosts(NETWORKS["lte"]).__enter__()
