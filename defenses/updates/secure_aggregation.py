"""Secure aggregation: each two clients share a random mask that one adds and the other subtracts; the sum stays exact.

K. Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017, §4, without the
recovery of clients that drop out: every client of a round must deliver. With `peers` below the number of the others,
the masks form a ring in which each client is linked to its next neighbours (J. H. Bell et al., "Secure Single-Server
Aggregation with (Poly)Logarithmic Overhead", CCS 2020, draws that graph at random; here it follows from the numbers).

A mask is the stream of ChaCha20 whose key HKDF-SHA256 derives from the X25519 secret of the two clients, bound to a
context and to the pair. Updates are in fixed point (`cutlayer.defenses.updates.fixed`).

The server learns the sum, and nothing else from the messages. Not covered: the sum itself, which is the update of the
union of all batches; a server with all peers of a client on its side, K - 1 of K clients, for which one of two is
enough; and a server that deviates: nothing certifies a key that it hands out, the share of a client in the sum that it
states (with one share of 1 and the others near 0, the sum is one client's update), or that all clients get the same
model (one that leaves all gradients but one client's at zero has that client's update for the sum).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from cutlayer.defenses.updates.base import Update, UpdateDefense
from cutlayer.defenses.updates.fixed import MOST_PARTIES, Words, added, encoded, limit, numbers
from cutlayer.errors import ConfigError, DecodeError
from cutlayer.options import Within

Bits = Annotated[int, Within(1, 30)]


class Keys:
    """The key pair of one client, for one round.

    Args:
        private: The 32 bytes of the private key; random ones of the system if left out.

    Raises:
        ConfigError: The package `cryptography` is missing.
    """

    def __init__(self, private: bytes | None = None) -> None:
        try:
            from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
        except ImportError:
            raise ConfigError("Secure aggregation needs the package cryptography; install cutlayer[certs].") from None
        self._private = X25519PrivateKey.from_private_bytes(private) if private else X25519PrivateKey.generate()
        self.public: bytes = self._private.public_key().public_bytes_raw()

    def mask(self, public: bytes, context: bytes, n: int) -> Words:
        """The mask of `n` words that this client shares with the one of this public key.

        Raises:
            DecodeError: It is no public key.
        """
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        try:
            agreed = self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise DecodeError("What the server hands out as the key of another client is no X25519 key.") from None
        key = HKDF(SHA256(), 32, salt=None, info=b"cutlayer secure aggregation 1 " + context).derive(agreed)
        # Each key encrypts one stream, so that the nonce may be 0.
        stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(4 * n))
        return np.frombuffer(stream, "<u4").astype(np.uint32, copy=False)


def masked(
    words: Mapping[str, Words], own: int, keys: Keys, public: Mapping[int, bytes], context: bytes, peers: int
) -> dict[str, Words]:
    """What a client sends in place of its words.

    Args:
        words: Its update in fixed point; all clients have the same names and shapes.
        own: Its number.
        keys: Its keys.
        public: The public key of every client of the round, by number.
        context: What the masks are bound to, such as plan and round; the same for all clients.
        peers: Number of other clients with whom it shares a mask, of which there may be fewer; an odd one is rounded
            up.
    """
    names = sorted(words)
    flat = np.concatenate([np.zeros(0, np.uint32), *(words[name].ravel() for name in names)])
    for other in _neighbours(own, public, peers):
        first, second = sorted((own, other))
        mask = keys.mask(public[other], context + f" {first} {second}".encode(), len(flat))
        flat = flat + mask if own == first else flat - mask
    parts = np.split(flat, np.cumsum([words[name].size for name in names]))
    return {name: part.reshape(words[name].shape) for name, part in zip(names, parts, strict=False)}


def _neighbours(own: int, clients: Collection[int], peers: int) -> list[int]:
    """The clients within `peers` / 2 places on the ring of all numbers, without itself."""
    ring, reach = sorted(clients), -(-peers // 2)
    at, n = ring.index(own), len(clients)
    return [
        other for place, other in enumerate(ring) if other != own and min((place - at) % n, (at - place) % n) <= reach
    ]


@dataclass(kw_only=True)
class SecureAggregation(UpdateDefense):
    """Mask what each client sends, so that the server learns the sum alone.

    Args:
        peers: Each client shares masks with so many others, or with all if there are fewer.
        bits: Bits behind the point of the numbers that are summed; the sum is within ±2**(31 - bits).
    """

    knob = "peers"
    plain_words = "hides each update behind masks that cancel in the sum, which is all that the server learns"

    peers: Annotated[int, Within(0, MOST_PARTIES)] = MOST_PARTIES
    bits: Bits = 20

    def share(self, updates: Mapping[int, Update], rng: np.random.Generator) -> dict[int, Update]:
        """See the base: float64, each number what a masked word stands for."""
        if not self.on:
            return dict(updates)
        _check(updates)
        keys = {client: Keys(rng.bytes(32)) for client in sorted(updates)}
        public, context, most = {c: k.public for c, k in keys.items()}, rng.bytes(16), limit(self.bits) / len(updates)
        shared: dict[int, Update] = {}
        for client, update in updates.items():
            words = {name: encoded(value, self.bits, most, name=name) for name, value in update.items()}
            sent = masked(words, client, keys[client], public, context, self.peers)
            shared[client] = {name: numbers(sent[name], self.bits, value) for name, value in update.items()}
        return shared

    def summed(self, shared: Mapping[int, Update]) -> dict[str, Any]:
        """See the base."""
        return added(shared, self.bits) if self.on else super().summed(shared)


def _check(updates: Mapping[int, Update]) -> None:
    if len(updates) < 2:
        raise ConfigError(
            "The sum of one client's update is that update; secure aggregation needs two clients or more."
        )
