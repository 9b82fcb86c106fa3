"""Cases of places: connections, streams, and messages that do not end, which take what others need."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from queue import SimpleQueue

import grpc
import zmq

from cutlayer.wire.connect import connect
from cutlayer.wire.grpc import tls
from cutlayer.wire.grpc.frames import PATHS, STREAM
from cutlayer.wire.grpc.health import HEALTH
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.transport import Timeouts
from cutlayer.wire.zmq.curve import client_options
from tests.hostile.case import ONCE, Attack, case
from tests.hostile.cost import together

CHANNELS, STREAMS = 3, 128

HALF_SENT, LARGE_BYTES = 12, 160 << 20
"""Connections with a message of so many bytes each, of which the last ones are not sent."""

FRAMES = 1_000_000
SILENT, DESCRIPTORS = 100, 64


def wait(attack: Attack) -> None:
    """Wait until the attack is over."""
    while attack.going():
        time.sleep(0.05)


@case("grpc", newcomers=True)
def streams_of_one_client(attack: Attack) -> None:
    """Streams that send nothing, 128 on each of three connections, opened again when they end."""
    hold_calls(attack, STREAM)


@case("grpc", newcomers=True)
def calls_of_one_client(attack: Attack) -> None:
    """Watches of the server's health, 128 on each of three connections, opened again when they end."""
    hold_calls(attack, f"/{HEALTH}/Watch")


@case("grpc", newcomers=True)
def calls_without_message(attack: Attack) -> None:
    """Calls whose message never comes, 128 on each of three connections, opened again when they end."""
    hold_calls(attack, PATHS[Kind.INFER])


def hold_calls(attack: Attack, path: str) -> None:
    """Open calls of a method on several connections; open those again that end."""

    def hold() -> None:
        # A pool of its own, or the channels would share a connection.
        options, encryption = [("grpc.use_local_subchannel_pool", 1)], tls.credentials(attack.security)
        if encryption is None:
            channel = grpc.insecure_channel(attack.address.netloc, options)
        else:
            channel = grpc.secure_channel(attack.address.netloc, encryption, options)
        with contextlib.closing(channel):
            calls = []
            while attack.going():
                calls = [call for call in calls if not call.done()]
                while len(calls) < STREAMS and attack.going():
                    endless: SimpleQueue[bytes] = SimpleQueue()
                    if path.endswith("Watch"):
                        endless.put(b"")
                    call = channel.stream_stream(path)(iter(endless.get, None))
                    call.add_done_callback(lambda *_: attack.count("ended"))
                    calls.append(call)
                    attack.count("opened")
                time.sleep(0.02)
            for call in calls:
                call.cancel()

    together(CHANNELS, hold)


@case(long=True)
def half_sent_messages(attack: Attack) -> None:
    """Twelve connections with all but the end of a message of 160 MiB."""
    large = Message(Kind.INFER, b"\x1a\x041234", (bytes(LARGE_BYTES),))

    def send() -> None:
        with stopping_at(attack, LARGE_BYTES - (1 << 20)) as address:
            client = connect(address, Timeouts(5.0, 30.0), retry=ONCE, security=attack.security)
            with contextlib.closing(client):
                while attack.going():
                    with attack.attempt():
                        future = client.submit(large, 30.0)
                        while attack.going() and not future.done():
                            time.sleep(0.05)
                        if future.done():
                            future.result()
                    time.sleep(0.05)

    together(HALF_SENT, send)


@contextlib.contextmanager
def stopping_at(attack: Attack, nbytes: int):
    """A relay to the server that passes on so many bytes of a connection, and no more; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)

        def copy(source: socket.socket, target: socket.socket, most: float) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(1 << 16):
                    if most > 0:
                        target.sendall(data)
                    most -= len(data)
            for end in (source, target):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        def accept() -> None:
            while attack.going():
                with contextlib.suppress(OSError):
                    here, _ = listening.accept()
                    there = attack.raw()
                    here.settimeout(None)
                    there.settimeout(None)
                    for ends in ((here, there, nbytes), (there, here, float("inf"))):
                        threading.Thread(target=copy, args=ends, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"{attack.address.scheme}://127.0.0.1:{listening.getsockname()[1]}"


@case("zmq", long=True)
def many_frames(attack: Attack) -> None:
    """Messages of a million frames of one byte, each on a connection of its own."""
    context = zmq.Context()
    try:
        while attack.going():
            with context.socket(zmq.DEALER) as dealer:
                dealer.linger = 0
                for name, value in client_options(attack.security).items():
                    setattr(dealer, name, value)
                dealer.connect(f"tcp://{attack.address.netloc}")
                for _ in range(FRAMES - 1):
                    dealer.send(b"x", zmq.SNDMORE)
                dealer.send(b"x")
                attack.count("sent")
                dealer.poll(500)
    finally:
        context.term()


@case("zmq", long=True)
def frames_without_end(attack: Attack) -> None:
    """Frames of 64 bytes of a message that never ends, as many as the server takes, on four bare connections."""
    if attack.security.curve_key:
        # They would have to be encrypted.
        return attack.count("not over CURVE")

    def send() -> None:
        while attack.going():
            with attack.attempt(), contextlib.closing(attack.raw()) as connection:
                connection.sendall(GREETING)
                connection.recv(64)
                connection.sendall(READY)
                frames = b"\x01\x40" + bytes(64)
                while attack.going():
                    connection.sendall(frames * 1000)

    together(4, send)


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_PROPERTIES = b"\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
READY = b"\x04" + bytes((6 + len(_PROPERTIES),)) + b"\x05READY" + _PROPERTIES


@case(newcomers=True, descriptors=DESCRIPTORS)
def silent_connections(attack: Attack) -> None:
    """A hundred connections that send nothing, while the server may have 64 descriptors; opened again when they end."""
    held: list[socket.socket] = []
    while attack.going():
        alive = []
        for connection in held:
            connection.setblocking(False)
            try:
                if connection.recv(1024):
                    alive.append(connection)
                    continue
            except BlockingIOError:
                alive.append(connection)
                continue
            except OSError:
                pass
            attack.count("ended")
            connection.close()
        held = alive
        while len(held) < SILENT and attack.going():
            with attack.attempt():
                held.append(attack.raw())
        time.sleep(0.02)
