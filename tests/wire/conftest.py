"""The fixture of the tests of connections."""

import contextlib

import pytest

from cutlayer.wire.connect import connect, listen


@pytest.fixture
def serve():
    """A function that serves a handler at an address and connects a client to it; both are closed afterwards."""
    with contextlib.ExitStack() as opened:

        def start(address, handler, timeouts=None, **options):
            server = listen(address, handler, timeouts)
            opened.callback(server.close, 0)
            client = connect(str(server.address), timeouts, **options)
            opened.callback(client.close)
            return server, client

        yield start
