"""An emulated network in front of a server: by a relay that needs no rights, or by the kernel."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace

from cutlayer.errors import ConfigError
from cutlayer.network.namespaces import two_hosts
from cutlayer.network.profiles import Network
from cutlayer.wire.address import Address
from cutlayer.wire.reach import look_up

APPLICATION_LEVEL = "application-level shaper"
"""`cutlayer.network.link` says what such a shaper leaves out."""

_READY_S, _STOP_S = 30.0, 10.0


@contextlib.contextmanager
def shaped(
    address: str, network: Network, *, tc: bool = False, within: tuple[str, ...] = (), insecure: bool = False
) -> Iterator[tuple[str, str]]:
    """Put a network in front of a server for as long as the context lasts; connections end with it.

    The context gives the address at which the server is reached, and what shapes the network, for the record.

    Device and server stay where they are: a relay takes what the device sends and, with `tc`, hands it over a cable
    between two network namespaces. Loopback is the server's own address, without a relay.

    Args:
        address: Address of the server, over TCP.
        network: Network between device and server.
        tc: Whether the kernel shapes; see `cutlayer.network.namespaces` for where it is allowed.
        within: Words before a command that make the relay run elsewhere, as in a network namespace.
        insecure: Whether the server may be off loopback, although the way to it may be in plain text: a client sees
            an address of loopback, and does not check.

    Raises:
        ConfigError: The address is not that of a TCP server on this machine, or the kernel may not shape here.
        Unreachable: The name of the host is unknown.
    """
    to = Address.parse(address)
    if to.port == 0:
        raise ConfigError(f"A network needs the address of a server that listens on TCP; {address} was given.")
    if not network.shapes:
        yield str(to), "unshaped"
        return
    if to.leaves_machine and not insecure:
        raise ConfigError(
            f"{address} is off loopback, where there is a network already; measure that one, start the server on this "
            "machine, or allow a shaper on top with --insecure."
        )
    # The relay finds the address again; here an unknown name still has a sentence.
    look_up(to, _READY_S)
    with contextlib.ExitStack() as stack:
        label, left, cable = APPLICATION_LEVEL, network, None
        if tc:
            device, server, label, left, over = stack.enter_context(two_hosts(network))
            within, cable = (*within, *over), [device.namespace, server.namespace, server.address]
        words = {"network": asdict(left), "host": to.host, "port": to.port, "cable": cable}
        command = [*within, sys.executable, "-m", "cutlayer.network.relay", json.dumps(words)]
        relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(_stop, relay)
        assert relay.stdout is not None
        ready = select.select([relay.stdout], [], [], _READY_S)[0]
        port = relay.stdout.readline().strip() if ready else ""
        if not port.isdecimal():
            raise ConfigError(f"The shaper in front of {to} did not start; its own message is above.")
        yield str(replace(to, host="127.0.0.1", port=int(port))), label


def _stop(relay: subprocess.Popen[str]) -> None:
    try:
        relay.communicate(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        relay.kill()
        relay.communicate()
