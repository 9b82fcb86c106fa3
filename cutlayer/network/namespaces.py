"""Two hosts on one machine: network namespaces with their own addresses and a cable between them that tc shapes.

Here the kernel's own TCP meets the network, with slow start and retransmissions. The kernel's netem does all of the
shaping; where the kernel has none, tbf keeps the rate, and the application-level shaper adds delay, jitter and loss.

Each namespace lives as long as a process that waits for the end of its input, so that nothing is left behind even when
the process that started it is killed: with the last process in it, a namespace and its end of the cable are gone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import NamedTuple

from cutlayer.errors import ConfigError
from cutlayer.network.link import PACKET_BYTES
from cutlayer.network.profiles import Network

_LIMIT_S = 20
_FRAME_BYTES = 1514
_BURST_S, _LEAST_BURST_BYTES = 2e-3, 1600
"""What tbf lets through at once: with more, the first bytes do not meet a slow network; with less, no frame fits."""


class Host(NamedTuple):
    """One end of the cable.

    Attributes:
        address: Address of this host, in a range reserved for documentation.
        within: Words before a command that make it run on this host.
        namespace: File of its network namespace.
    """

    address: str
    within: tuple[str, ...]
    namespace: str


class Cable(NamedTuple):
    """Two hosts that see each other and nothing else.

    Attributes:
        device: Host whose packets leave at the network's rate up.
        server: Host whose packets leave at the network's rate down.
        label: What shapes the network, for the record.
        left: What the kernel could not do, for `cutlayer.network.shaper.shaped` within the device's host; it shapes
            nothing where nothing is left.
        over: Words before a command that give it the right to enter either host; empty for root.
    """

    device: Host
    server: Host
    label: str
    left: Network
    over: tuple[str, ...]


@contextlib.contextmanager
def two_hosts(network: Network) -> Iterator[Cable]:
    """Make a host for the device, a host for the server, and the network between them.

    Raises:
        ConfigError: The kernel, its modules or the user's rights do not allow it.
    """
    as_root = os.geteuid() == 0
    entering_user = () if as_root else ("--user", "--preserve-credentials")

    def host_of(address: str, pid: int) -> Host:
        return Host(address, ("nsenter", "--target", str(pid), *entering_user, "--net"), f"/proc/{pid}/ns/net")

    with _namespace(("unshare", *(() if as_root else ("--user", "--map-root-user")), "--net")) as first:
        device = host_of("192.0.2.1", first)
        # The second is made from within the first, so that both belong to one user namespace.
        with _namespace((*device.within, "unshare", "--net")) as second:
            server = host_of("192.0.2.2", second)
            _run(device.within, f"ip link add cable type veth peer name cable netns {second}")
            done: list[str] = []
            for host, rate_bps in ((device, network.up_bps), (server, network.down_bps)):
                _run(host.within, f"ip addr add {host.address}/24 dev cable")
                # A loss must hit one packet, not the 64 KiB of packets that the kernel hands on as one.
                _run(host.within, f"ip link set cable {'gso_max_segs 1' if network.loss else ''} up")
                _run(host.within, "ip link set lo up")
                done.append(_shape(host, network, rate_bps))
            left = replace(network, up_bps=inf, down_bps=inf)
            if "netem" in done:
                left = replace(left, delay_s=0.0, jitter_s=0.0, loss=0.0)
            by = next(filter(None, done), None)
            label = f"tc {by} in network namespaces" if by else "unshaped network namespaces"
            label += "; delay, jitter and loss by an application-level shaper" if left.shapes else ""
            yield Cable(device, server, label, left, () if as_root else device.within[:-1])


def _shape(host: Host, network: Network, rate_bps: float) -> str:
    """Shape what leaves a host; return the name of the queueing discipline, or an empty one for no shaping."""
    add = "tc qdisc add dev cable root"
    # The kernel counts headers too; a network's rate does not.
    wire_bps = rate_bps * _FRAME_BYTES / PACKET_BYTES
    under_way = 0 if rate_bps == inf else wire_bps * (network.delay_s + network.jitter_s) / 8
    delay, jitter = (f"{seconds * 1e6:.0f}us" for seconds in (network.delay_s, network.jitter_s))
    words = f"netem limit {int(under_way / _FRAME_BYTES) + 1000} delay {delay} {jitter}"
    words += f" loss {network.loss * 100:.6f}%" if network.loss else ""
    words += "" if rate_bps == inf else f" rate {wire_bps:.0f}bit"
    if network.shapes and not _failure(host.within, f"{add} {words}"):
        return "netem"
    if rate_bps == inf:
        return ""
    burst = int(max(_LEAST_BURST_BYTES, wire_bps * _BURST_S / 8))
    # The queue holds at most half a second, or what a sender has under way at first.
    limit = burst + max(1 << 16, int(wire_bps / 16))
    _run(host.within, f"{add} tbf rate {wire_bps:.0f}bit burst {burst} limit {limit}")
    return "tbf"


@contextlib.contextmanager
def _namespace(command: tuple[str, ...]) -> Iterator[int]:
    """Start a process that holds a new namespace, and give its number."""
    holding = [*command, "sh", "-c", "echo ready; exec cat"]
    try:
        holder = subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        raise _not_allowed(f"there is no {error.filename}") from None
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            raise _not_allowed(holder.communicate(timeout=_LIMIT_S)[1].decode().strip())
        yield holder.pid
    finally:
        holder.communicate(timeout=_LIMIT_S)


def _run(within: tuple[str, ...], command: str) -> None:
    if reason := _failure(within, command):
        raise _not_allowed(f"{command}: {reason}")


def _failure(within: tuple[str, ...], command: str) -> str:
    """Run a command, and return why it failed; empty where it did not."""
    try:
        done = subprocess.run(
            [*within, *command.split()], capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except FileNotFoundError as error:
        raise _not_allowed(f"there is no {error.filename}") from None
    return (" ".join(done.stderr.split()) or f"exit code {done.returncode}") if done.returncode else ""


def _not_allowed(why: str) -> ConfigError:
    return ConfigError(
        f"This machine cannot create network namespaces ({why}); use the application-level shaper instead."
    )
