"""Two hosts on one machine: network namespaces with their own addresses and a cable between them that tc shapes.

Here the kernel's own TCP meets the network, slow start, retransmissions and all. The kernel's netem does the whole of
it; where the kernel has none, tbf keeps the rate, and delay, jitter and loss are left to the application-level shaper.

Each namespace lives as long as a process that waits for the end of its input, so that nothing is left behind even
when whoever made it is killed: with the last process in it, a namespace and its end of the cable are gone.
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
"""What tbf lets through at once: more, and a slow network is none for its first bytes; less, and a frame never fits."""


class Host(NamedTuple):
    """One end of the cable.

    Attributes:
        address: Of this host, in a range kept for documentation.
        within: The words before a command that make it run there.
        namespace: File of its network namespace, for whoever may enter it.
    """

    address: str
    within: tuple[str, ...]
    namespace: str


class Cable(NamedTuple):
    """Two hosts that see each other and nothing else.

    Attributes:
        device: Its packets leave at the network's rate up.
        server: And those of this one at its rate down.
        label: Who shapes what, for the record.
        left: What the kernel could not do, for a `cutlayer.network.shaper.Shaped` within the device's host; it does
            nothing where nothing is left.
        over: The words before a command that give it the right to enter either host; none are needed as root.
    """

    device: Host
    server: Host
    label: str
    left: Network
    over: tuple[str, ...]


@contextlib.contextmanager
def two_hosts(network: Network) -> Iterator[Cable]:
    """A device and a server of their own, and the network between them.

    Raises:
        ConfigError: The kernel, its modules or our rights do not allow it.
    """
    as_root = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    with _namespace(("unshare", *as_root, "--net")) as first:
        enter_first = _entering(first, bool(as_root))
        # Out of the first, so that both belong to one user namespace.
        with _namespace((*enter_first, "unshare", "--net")) as second:
            device = Host("192.0.2.1", enter_first, f"/proc/{first}/ns/net")
            server = Host("192.0.2.2", _entering(second, bool(as_root)), f"/proc/{second}/ns/net")
            _run(device.within, f"ip link add cable type veth peer name cable netns {second}")
            done: list[str] = []
            for host, rate_bps in ((device, network.up_bps), (server, network.down_bps)):
                _run(host.within, f"ip addr add {host.address}/24 dev cable")
                # What is lost is to be a packet, and not the 64 KiB of them that the kernel hands on as one.
                _run(host.within, f"ip link set cable {'gso_max_segs 1' if network.loss else ''} up")
                _run(host.within, "ip link set lo up")
                done.append(_shape(host, network, rate_bps))
            left = replace(network, up_bps=inf, down_bps=inf)
            if "netem" in done:
                left = replace(left, delay_s=0.0, jitter_s=0.0, loss=0.0)
            yield Cable(device, server, _label(done, left), left, enter_first[:-1] if as_root else ())


def _shape(host: Host, network: Network, rate_bps: float) -> str:
    """Set what leaves a host; the name of the discipline that does it, or none."""
    add = "tc qdisc add dev cable root"
    # The kernel counts headers too, and a network's rate does not.
    wire_bps = rate_bps * _FRAME_BYTES / PACKET_BYTES
    under_way = 0 if rate_bps == inf else wire_bps * (network.delay_s + network.jitter_s) / 8
    words = f"netem limit {int(under_way / _FRAME_BYTES) + 1000} delay {_us(network.delay_s)} {_us(network.jitter_s)}"
    words += f" loss {network.loss * 100:.6f}%" if network.loss else ""
    words += "" if rate_bps == inf else f" rate {wire_bps:.0f}bit"
    if network.shapes and not _says(host.within, f"{add} {words}"):
        return "netem"
    if rate_bps == inf:
        return ""
    burst = int(max(_LEAST_BURST_BYTES, wire_bps * _BURST_S / 8))
    # Queued at most half a second, or what a sender has under way at first.
    limit = burst + max(1 << 16, int(wire_bps / 16))
    _run(host.within, f"{add} tbf rate {wire_bps:.0f}bit burst {burst} limit {limit}")
    return "tbf"


def _label(done: list[str], left: Network) -> str:
    by = next((name for name in done if name), "")
    kernel = f"tc {by} in network namespaces" if by else "unshaped network namespaces"
    return f"{kernel}; delay, jitter and loss by an application-level shaper" if left.shapes else kernel


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f}us"


@contextlib.contextmanager
def _namespace(command: tuple[str, ...]) -> Iterator[int]:
    """The process that holds a new namespace."""
    try:
        holder = subprocess.Popen(
            [*command, "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise _not_allowed(f"there is no {error.filename}") from None
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            raise _not_allowed(holder.communicate(timeout=_LIMIT_S)[1].decode().strip())
        yield holder.pid
    finally:
        holder.communicate(timeout=_LIMIT_S)


def _entering(pid: int, as_user: bool) -> tuple[str, ...]:
    user = ("--user", "--preserve-credentials") if as_user else ()
    return ("nsenter", "--target", str(pid), *user, "--net")


def _run(within: tuple[str, ...], command: str) -> None:
    if said := _says(within, command):
        raise _not_allowed(f"{command}: {said}")


def _says(within: tuple[str, ...], command: str) -> str:
    """Why a command failed; empty where it did not."""
    words = [*within, *command.split()]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except FileNotFoundError as error:
        raise _not_allowed(f"there is no {error.filename}") from None
    return (" ".join(done.stderr.split()) or f"exit code {done.returncode}") if done.returncode else ""


def _not_allowed(why: str) -> ConfigError:
    return ConfigError(f"This machine makes no network namespaces ({why}); use the application-level shaper instead.")
