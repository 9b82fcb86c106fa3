"""Cases of cost: requests that are valid, and whose computation keeps the tail from the others; two controls first."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from cutlayer.errors import WireError
from cutlayer.models.manifest import tail_name
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.handshake import metadata_request
from cutlayer.wire.message import Inference, Message, infer_request
from cutlayer.wire.template import completed
from cutlayer.wire.transport import Transport
from tests.hostile.case import Attack, case

MOST_SAMPLES = 256
"""Samples of the largest request that a server takes, by default."""

CONNECTIONS, IN_FLIGHT = 48, 16


_ids = itertools.count()


def request(attack: Attack, n: int, codec: str = "raw") -> Message:
    """Return a request of n samples, all of them zero, without its id."""
    manifest = open_split(attack.folder).manifest
    zeros = codec_named(codec).encode(np.zeros((n, *manifest.smashed.shape), np.float32))
    return infer_request(Inference(tail_name(manifest), manifest.version, "", {"smashed": zeros}))


def fresh(message: Message) -> Message:
    """Return a request with an id of its own."""
    return completed(message, str(next(_ids)), *message.tensors)


def ask(attack: Attack, client: Transport, message: Message) -> None:
    """Send a request again and again, each time that it is answered."""
    while attack.going():
        with attack.attempt():
            client.request(fresh(message), 20.0)


def together(n: int, function: Callable[..., None], *arguments: object) -> None:
    """Call a function in n threads."""
    threads = [threading.Thread(target=function, args=arguments) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@case()
def busy_neighbour(attack: Attack) -> None:
    """A control that sends nothing: a process that computes on the same cores all the time."""
    while attack.going():
        sum(range(1 << 20))
        attack.count("sums")


@case()
def honest_client(attack: Attack) -> None:
    """A control: a second client that asks for one sample after the other, as the victim does."""
    ask(attack, attack.client(), request(attack, 1))


@case()
def few_bytes_for_many_samples(attack: Attack) -> None:
    """One request after the other of a few bytes, which ask for the most samples."""
    ask(attack, attack.client(), request(attack, MOST_SAMPLES, "raw+zstd"))


@case()
def zeros_in_top_k(attack: Attack) -> None:
    """Four requests at a time of the most samples, all zero, from one connection."""
    together(4, ask, attack, attack.client(), request(attack, MOST_SAMPLES, "top-k"))


@case()
def too_many_samples(attack: Attack) -> None:
    """Requests of eight times the most samples, in a few bytes."""
    ask(attack, attack.client(), request(attack, 8 * MOST_SAMPLES, "raw+zstd"))


@case()
def large_requests(attack: Attack) -> None:
    """Two requests at a time of the most samples, raw, from one connection."""
    together(2, ask, attack, attack.client(), request(attack, MOST_SAMPLES))


@case()
def many_in_flight(attack: Attack) -> None:
    """A connection with as many unanswered requests as it may have, of a batch of samples each."""
    together(IN_FLIGHT, ask, attack, attack.client(), request(attack, 16, "raw+zstd"))


@case()
def many_connections(attack: Attack) -> None:
    """Small requests from many connections of one peer."""
    message = request(attack, 1)
    together(CONNECTIONS, lambda: ask(attack, attack.client(), message))


@case()
def leaves_at_once(attack: Attack) -> None:
    """Requests of the most samples whose client leaves before the answer."""
    message = request(attack, MOST_SAMPLES, "raw+zstd")

    def ask_and_leave() -> None:
        while attack.going():
            client = attack.client()
            futures = [client.submit(fresh(message), 0.05) for _ in range(4)]
            for future in futures:
                with attack.attempt():
                    future.result()
            client.close()

    with suppress(WireError):
        together(4, ask_and_leave)


@case()
def connects_again_and_again(attack: Attack) -> None:
    """New connections from eight threads, each closed after one question about the model."""
    manifest = open_split(attack.folder).manifest
    question = metadata_request(tail_name(manifest), manifest.version)

    def ask_once() -> None:
        while attack.going():
            client = attack.client()
            with attack.attempt():
                client.request(question, 5.0)
            client.close()

    together(8, ask_once)
