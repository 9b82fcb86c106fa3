"""A name service that a test controls, in place of the system's."""

import socket

import pytest

REAL = socket.getaddrinfo


class Names:
    """What each name stands for: numeric addresses, or an error. Other names and numbers are resolved as ever."""

    def __init__(self):
        self.known = {}

    def getaddrinfo(self, host, port, *args, **options):
        known = self.known.get(host)
        if known is None:
            return REAL(host, port, *args, **options)
        if isinstance(known, Exception):
            raise known
        if callable(known):
            return known()
        return [row for address in known for row in REAL(address, port, *args, **options)]


@pytest.fixture
def names(monkeypatch):
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names.known
