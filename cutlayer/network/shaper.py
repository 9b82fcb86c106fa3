"""A slower network to a server than there is: by a relay that needs no rights, or by the kernel."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from dataclasses import asdict, replace

from cutlayer.errors import ConfigError
from cutlayer.network.namespaces import two_hosts
from cutlayer.network.profiles import Network
from cutlayer.wire.address import Address

APPLICATION_LEVEL = "application-level shaper"
"""`cutlayer.network.link` says what such a shaper leaves out."""

_READY_S, _STOP_S = 30.0, 10.0


class Shaped:
    """A context manager that gives the address at which a server is reached through a network.

    Device and server stay where they are: a relay takes what the device sends, and, with `tc`, hands it over a cable
    between two network namespaces. Loopback is the server's own address, without a relay. Connections end with the
    context.

    Args:
        address: Of the server, over TCP.
        network: Between here and there.
        tc: Let the kernel shape; see `cutlayer.network.namespaces` for where it is allowed.
        within: The words before a command that make the relay run elsewhere, as in a network namespace.
        insecure: Allow a server off loopback, though the way to it may be in plain text: whoever connects sees
            an address of loopback, and asks no more.

    Raises:
        ConfigError: The address is none of a TCP server on this machine; on entering, that the machine lets the
            kernel shape nothing.

    Attributes:
        label: How the network came about, for the record; complete once entered.
    """

    def __init__(
        self, address: str, network: Network, *, tc: bool = False, within: tuple[str, ...] = (), insecure: bool = False
    ) -> None:
        self._to, self._network, self._tc, self._within = Address.parse(address), network, tc, within
        self._opened = contextlib.ExitStack()
        self.label = "unshaped" if not network.shapes else "tc" if tc else APPLICATION_LEVEL
        if self._to.port == 0:
            raise ConfigError(f"{address} is no address of a server that listens on TCP; a network needs one.")
        if network.shapes and self._to.leaves_machine and not insecure:
            raise ConfigError(
                f"{address} is off loopback, where there is a network already; measure that one, start the server on "
                "this machine, or allow a shaper on top with --insecure."
            )

    def __enter__(self) -> str:
        if not self._network.shapes:
            return str(self._to)
        with contextlib.ExitStack() as stack:
            words = {"network": asdict(self._network), "host": self._to.host, "port": self._to.port, "cable": None}
            within = self._within
            if self._tc:
                cable = stack.enter_context(two_hosts(self._network))
                self.label, within = cable.label, (*within, *cable.over)
                words["network"] = asdict(cable.left)
                words["cable"] = [cable.device.namespace, cable.server.namespace, cable.server.address]
            command = [*within, sys.executable, "-m", "cutlayer.network.relay", json.dumps(words)]
            relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(_stop, relay)
            assert relay.stdout is not None
            ready = select.select([relay.stdout], [], [], _READY_S)[0]
            port = relay.stdout.readline().strip() if ready else ""
            if not port.isdecimal():
                raise ConfigError(f"The shaper in front of {self._to} did not start; what it said is above.")
            self._opened = stack.pop_all()
        return str(replace(self._to, host="127.0.0.1", port=int(port)))

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def _stop(relay: subprocess.Popen[str]) -> None:
    try:
        relay.communicate(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        relay.kill()
        relay.communicate()
