"""A small room for tests: a tiny split, its data in a file, and the ends of the conversation with its web server."""

import contextlib
import http.client
import json
import time

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from cutlayer.live.serve import open_room
from cutlayer.split_folder import open_split
from tests.tiny_split import INPUT, write_split

PATIENCE_S = 120
CLEAR = 6
"""Seed of a head through which a linear map sees well."""


def smooth(n, seed=0):
    """Images in which neighbours resemble each other, ``(N, 1, 6, 6)``."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((n, 1, 3, 3), np.float32).repeat(2, 2).repeat(2, 3)
    return np.clip(coarse + 0.1 * rng.standard_normal((n, *INPUT.shape), np.float32), 0, 1)


def write_room(folder):
    """A split and a file of its data; the paths of both."""
    data = folder / "data.npz"
    np.savez(data, images=np.rint(smooth(240) * 255).astype(np.uint8)[:, 0], labels=np.arange(240) % 3)
    write_split(folder / "split", seed=CLEAR)
    return folder / "split", str(data)


@contextlib.contextmanager
def tiny_room(folder, attackers=(), **options):
    split, data = (
        write_room(folder) if not (folder / "split").exists() else (folder / "split", str(folder / "data.npz"))
    )
    with open_room(open_split(split), data, out=folder / "out", attackers=attackers, **options) as opened:
        yield opened


def ask(opened, method, path, value=None, *, token=None, body=None, headers=None):
    """One request; the status, the headers and the body, which is read as JSON where it is some."""
    code = opened.code
    connection = http.client.HTTPConnection(code.host, code.port, timeout=PATIENCE_S)
    sent = {"Authorization": f"Bearer {token or code.token}", **(headers or {})}
    connection.request(method, path, json.dumps(value).encode() if value is not None else body, sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    with contextlib.suppress(ValueError):
        content = json.loads(content)
    return answer.status, answer.headers, content


def introduced(name="one", **changes):
    return {
        "name": name, "kind": "python", "session": f"session-{name}", "share_original": False,
        "allows": ["gaussian-noise"], **changes,
    }  # fmt: skip


class Page:
    """The big screen's end of its WebSocket."""

    def __init__(self, opened, token=None, *, greets=True, **options):
        base, _, own = opened.screen.partition("#")
        self._connecting = connect(f"ws{base.removeprefix('http')}watch", max_size=None, proxy=None, **options)
        self._token, self._greets = own if token is None else token, greets

    def __enter__(self):
        self.socket = self._connecting.__enter__()
        if self._greets:
            self.say({"token": self._token})
        return self

    def __exit__(self, *ended):
        self._connecting.__exit__(*ended)

    def say(self, value):
        self.socket.send(value if isinstance(value, str | bytes) else json.dumps(value))

    def until(self, found):
        """The first message for which this is true."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            message = json.loads(self.socket.recv(timeout=PATIENCE_S))
            if found(message):
                return message
        raise AssertionError("no such message came")

    def closed(self):
        """The code and the reason with which the server closes the connection."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.socket.recv(timeout=PATIENCE_S)
        return self.socket.close_code, self.socket.close_reason

    def wish(self, id, defense, codec="raw", **options):
        self.say({"type": "wish", "id": id, "wish": {"defense": defense, "options": options, "codec": codec}})
