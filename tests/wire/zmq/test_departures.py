"""A server notices that a client was killed, and takes no other client for it."""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from cloud.batcher import Limits
from cloud.service import Service
from cutlayer.split_folder import open_split
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.transport import Timeouts
from tests.cloud.callers import Held, request
from tests.tiny_split import write_split

ADDRESSES = {"grpc": "grpc://127.0.0.1:0", "zmq": "zmq://127.0.0.1:0"}
PATIENCE, PATIENCE_S = Timeouts(connect_s=10.0), 20

ASK = """
import sys
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.connect import connect
address, n = sys.argv[1:]
client = connect(address)
header, tensor = bytes.fromhex(sys.stdin.buffer.readline().decode()), sys.stdin.buffer.read()
futures = [client.submit(Message(Kind.INFER, header + b"\\x1a\\x02s%d" % i, (tensor,)), 60) for i in range(int(n))]
for future in futures:
    future.result()
"""


class Door:
    """Keeps each caller, and passes it on to another handler if there is one."""

    ready = True

    def __init__(self, handler=None):
        self._handler, self.callers, self._came = handler, [], threading.Condition()

    def submit(self, request, arrived_ns, caller, *, lend=False):
        with self._came:
            self.callers.append(caller)
            self._came.notify_all()
        if self._handler is not None:
            self._handler.submit(request, arrived_ns, caller)

    def wait(self, n):
        """All who asked, once they are so many."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.callers) >= n, PATIENCE_S)
            return list(self.callers)


@contextmanager
def asking(address, n, message):
    """A process that asks so often at once, and waits."""
    command = [sys.executable, "-c", ASK, address, str(n)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        process.stdin.write(message.header.hex().encode() + b"\n" + b"".join(map(bytes, message.tensors)))
        process.stdin.close()
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.01)


@pytest.mark.parametrize("transport", ADDRESSES)
def test_who_was_killed_is_gone_and_who_comes_next_is_not(transport):
    door, message = Door(), Message(Kind.INFER, b"", (b"smashed",))
    server = listen(ADDRESSES[transport], door, PATIENCE)
    client = connect(str(server.address), PATIENCE)
    try:
        stays = client.submit(Message(Kind.INFER, b"\x1a\x02s0", (b"smashed",)), PATIENCE_S)
        (staying,) = door.wait(1)
        for n in range(3):
            with asking(str(server.address), 5, message) as process:
                callers = door.wait(6 + 5 * n)[1 + 5 * n :]
                assert not any(caller.gone() for caller in callers)
                process.kill()
                wait_until(lambda callers=callers: all(caller.gone() for caller in callers))
            assert not staying.gone()
        for caller in door.callers:
            caller.answer(Message(Kind.INFER, b"\x1a\x02s0"), lambda: None)
        assert stays.result(PATIENCE_S).header == b"\x1a\x02s0"
    finally:
        client.close()
        server.close()


@pytest.mark.parametrize("transport", ADDRESSES)
def test_what_he_asked_is_not_computed(tmp_path, transport):
    manifest = write_split(tmp_path)
    tail = Held(open_split(tmp_path).tail(threads=1))
    service = Service(manifest, tail, limits=Limits(max_batch=1))
    door = Door(service)
    server = listen(ADDRESSES[transport], door, PATIENCE)
    try:
        with asking(str(server.address), 8, request(value=7.0)) as process:
            callers = door.wait(8)
            assert tail.begun.wait(PATIENCE_S)
            process.kill()
            wait_until(lambda: all(caller.gone() for caller in callers))
        tail.go_on.set()
    finally:
        server.close()
        service.drain()
    assert tail.batches == [[7.0]]
    assert "cutlayer_abandoned_requests_total 7\n" in service.metrics.text()
