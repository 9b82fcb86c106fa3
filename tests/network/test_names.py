"""A network in front of a server that has a name with several addresses, or an unknown one."""

import asyncio
import socket

import pytest

from cutlayer.errors import Unreachable
from cutlayer.network.profiles import network_named
from cutlayer.network.relay import Onward, _open
from cutlayer.network.shaper import shaped
from tests.wire.resolver import names

__all__ = ["names"]


def test_the_relay_tries_every_address(names):
    names["pi"] = ["::1", "127.0.0.9", "127.0.0.1"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = asyncio.run(_open(Onward("pi", server.getsockname()[1], None, network_named("lte"))))
        with far:
            assert far.getpeername()[0] == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(_open(Onward("pi", 1, None, network_named("lte"))))


def test_an_unknown_name_is_said_before_the_relay_starts(names):
    names["pi"] = socket.gaierror(socket.EAI_NONAME, "no")
    with pytest.raises(Unreachable, match="pi is unknown"), shaped("zmq://pi:1", network_named("lte"), insecure=True):
        pass
