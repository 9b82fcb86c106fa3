"""A slower network to a server than there is: the application-level shaper, a relay that needs no rights."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from dataclasses import asdict, replace

from cutlayer.errors import ConfigError
from cutlayer.network.profiles import Network
from cutlayer.wire.transport import Address

APPLICATION_LEVEL = "application-level shaper"
"""What a record says of times measured through `Shaped`; `cutlayer.network.link` says what such a shaper leaves out."""

_READY_S, _STOP_S = 30.0, 10.0


class Shaped:
    """A context manager that gives the address at which a server is reached through a network.

    Loopback is the server's own address, without a relay. Connections end with the context.

    Args:
        address: Of the server, over TCP.
        network: Between here and there.
        within: The words before a command that make it run elsewhere, as in a network namespace.
        insecure: Allow a server off loopback, though the way to it may be in plain text: whoever connects sees
            an address of loopback, and asks no more.

    Raises:
        ConfigError: The address is none of a TCP server on this machine.

    Attributes:
        label: How the network came about, for the record.
    """

    def __init__(self, address: str, network: Network, *, within: tuple[str, ...] = (), insecure: bool = False) -> None:
        self._to, self._network, self._within = Address.parse(address), network, within
        self.label = APPLICATION_LEVEL if network.shapes else "unshaped"
        if self._to.port == 0:
            raise ConfigError(f"{address} is no address of a server that listens on TCP; a network needs one.")
        if network.shapes and self._to.leaves_machine and not insecure:
            raise ConfigError(
                f"{address} is off loopback, where there is a network already; measure that one, start the server on "
                "this machine, or allow a shaper on top with --insecure."
            )
        self._relay: subprocess.Popen[str] | None = None

    def __enter__(self) -> str:
        if not self._network.shapes:
            return str(self._to)
        words = [json.dumps(asdict(self._network)), self._to.host, str(self._to.port)]
        self._relay = relay = subprocess.Popen(
            [*self._within, sys.executable, "-m", "cutlayer.network.relay", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert relay.stdout is not None
        ready = select.select([relay.stdout], [], [], _READY_S)[0]
        port = relay.stdout.readline().strip() if ready else ""
        if not port.isdecimal():
            self.__exit__()
            raise ConfigError(f"The shaper in front of {self._to} did not start; what it said is above.")
        return str(replace(self._to, host="127.0.0.1", port=int(port)))

    def __exit__(self, *_: object) -> None:
        relay, self._relay = self._relay, None
        if relay is None:
            return
        try:
            relay.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            relay.kill()
            relay.communicate()
