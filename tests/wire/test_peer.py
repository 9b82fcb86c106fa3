"""A server knows who a connection belongs to: by its key or certificate, its address, and itself."""

import contextlib

import pytest

from cutlayer.wire.connect import connect, listen
from cutlayer.wire.peer import at, name, network
from tests.wire.ends import SOCKETS, WAIT_S, Held, message
from tests.wire.test_security import PAIRS, folder, security

__all__ = ["folder"]


@pytest.mark.parametrize(
    ("host", "expected"), [("::ffff:10.0.0.1", "10.0.0.1:5"), ("10.0.0.1", "10.0.0.1:5"), ("::1", "[::1]:5")]
)
def test_addresses_are_written_in_one_way(host, expected):
    assert name(host, 5) == expected


def test_addresses_of_one_site_count_together():
    assert network("::ffff:10.0.0.1") == network("10.0.0.1") == "10.0.0.1" != network("10.0.0.2")
    assert network("2001:db8::1") == network("2001:db8:0:0:ffff::2%eth0") != network("2001:db8:0:1::1")
    assert at(1, "10.0.0.1", 5).party == at(2, "10.0.0.1", 6).party != at(3, "10.0.0.1", 7, "a key").party


@pytest.mark.parametrize("scheme", SOCKETS)
@pytest.mark.parametrize("proven", [False, True], ids=["plain text", "keys"])
def test_requests_say_whose_they_are(folder, scheme, proven):
    files = PAIRS[scheme] if proven else ({}, {})
    server = listen(SOCKETS[scheme], held := Held(), security=security(folder, files[0]))
    peers = []
    with contextlib.ExitStack() as opened:
        opened.callback(server.close, 0)
        for _ in range(2):
            with contextlib.closing(connect(str(server.address), security=security(folder, files[1]))) as client:
                futures = [client.submit(message(number), WAIT_S) for number in range(2)]
                peers += [caller.peer for _, caller in held.take(2)]
        del futures
    assert {peer.network for peer in peers} == {"127.0.0.1"}
    assert len({peer.connection for peer in peers}) == 2
    (identity,) = {peer.identity for peer in peers}
    assert len(identity) == ({"grpc": 64, "zmq": 40}[scheme] if proven else 0)
