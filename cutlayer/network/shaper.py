"""A slower network to a server: by a relay, which needs no special rights, or by the kernel."""

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
"""Label of the relay alone; see `cutlayer.network.link` for what it does not model."""

_READY_S, _STOP_S = 30.0, 10.0


class Shaped:
    """A context manager that gives the address at which a server is reached through a network.

    A relay forwards what the device sends, with `tc` over a cable between two network namespaces. For loopback there is
    no relay, and the address is the server's own. Connections end with the context.

    Args:
        address: Address of the server, over TCP.
        network: Network between device and server.
        tc: Whether the kernel shapes the network; see `cutlayer.network.namespaces` for its conditions.
        within: Command prefix that runs the relay elsewhere, such as in a network namespace.
        insecure: Allow a server on another machine. The client sees an address of loopback and does not check whether
            plain text leaves the machine.

    Raises:
        ConfigError: The address is not that of a TCP server on this machine; on entering, the kernel cannot shape.

    Attributes:
        label: Method of the emulation, for the record; complete on entering.
    """

    def __init__(
        self,
        address: str,
        network: Network,
        *,
        tc: bool = False,
        within: tuple[str, ...] = (),
        insecure: bool = False,
    ) -> None:
        self._to, self._network, self._tc, self._within = Address.parse(address), network, tc, within
        self._opened = contextlib.ExitStack()
        self.label = "unshaped" if not network.shapes else "tc" if tc else APPLICATION_LEVEL
        if self._to.port == 0:
            raise ConfigError(
                f"{address} is not the address of a TCP server; give one with a port, such as grpc://127.0.0.1:8001."
            )
        if network.shapes and self._to.leaves_machine and not insecure:
            raise ConfigError(
                f"{address} is on another machine, with a real network in between; measure that network, start the "
                "server on this machine, or add the emulated network with --insecure."
            )

    def __enter__(self) -> str:
        if not self._network.shapes:
            return str(self._to)
        with contextlib.ExitStack() as stack:
            arguments = {"network": asdict(self._network), "host": self._to.host, "port": self._to.port, "cable": None}
            within = self._within
            if self._tc:
                cable = stack.enter_context(two_hosts(self._network))
                self.label, within = cable.label, (*within, *cable.over)
                arguments["network"] = asdict(cable.left)
                arguments["cable"] = [cable.device.namespace, cable.server.namespace, cable.server.address]
            command = [*within, sys.executable, "-m", "cutlayer.network.relay", json.dumps(arguments)]
            relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(_stop, relay)
            assert relay.stdout is not None
            ready = select.select([relay.stdout], [], [], _READY_S)[0]
            port = relay.stdout.readline().strip() if ready else ""
            if not port.isdecimal():
                raise ConfigError(f"The relay to {self._to} did not start; see its output above.")
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
