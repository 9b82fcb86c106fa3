"""A server notices that a client was killed, and takes no other client for it."""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

from cutlayer.cloud.admission import Limits
from cutlayer.cloud.service import Service
from cutlayer.split_folder import open_split
from cutlayer.wire.connect import listen
from cutlayer.wire.message import Kind, Message
from tests.cloud.callers import HeldTail, request
from tests.tiny_split import write_split
from tests.wire.ends import WAIT_S, Held, each_socket, message, nothing, numbers

REQUEST = """
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


@contextmanager
def requesting(address, n, message):
    """A process that sends the message n times at once, with its own ids, and waits for the answers."""
    command = [sys.executable, "-c", REQUEST, address, str(n)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        process.stdin.write(message.header.hex().encode() + b"\n" + b"".join(map(bytes, message.tensors)))
        process.stdin.close()
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition):
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.01)


@each_socket
def test_a_killed_client_is_gone_and_the_next_client_is_not(serve, address):
    server, client = serve(address, held := Held())
    # It is answered after all others, each of which may take as long as that.
    future = client.submit(message(0), 10 * WAIT_S)
    ((first, staying),) = held.take()
    callers = []
    for _ in range(3):
        with requesting(str(server.address), 5, Message(Kind.INFER, b"", (b"smashed",))) as process:
            latest = [caller for _, caller in held.take(5)]
            assert not any(caller.gone() for caller in latest)
            process.kill()
            wait_until(lambda callers=latest: all(caller.gone() for caller in callers))
        assert not staying.gone()
        callers += latest
    for caller in (staying, *callers):
        caller.answer(first, nothing)
    assert numbers(future) == [0]


@each_socket
def test_requests_of_a_killed_client_are_not_computed(tmp_path, address):
    manifest = write_split(tmp_path)
    tail = HeldTail(open_split(tmp_path).tail(threads=1))
    service = Service(manifest, tail, limits=Limits(max_batch=1))
    server = listen(address, held := Held(service))
    try:
        with requesting(str(server.address), 8, request(value=7.0)) as process:
            callers = [caller for _, caller in held.take(8)]
            assert tail.begun.wait(WAIT_S)
            process.kill()
            wait_until(lambda: all(caller.gone() for caller in callers))
        tail.go_on.set()
    finally:
        server.close()
        service.drain()
    assert tail.batches == [[7.0]]
    assert "cutlayer_abandoned_requests_total 7\n" in service.metrics.text()
