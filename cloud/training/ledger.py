"""From what happens at the server to one record for each round."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cutlayer.machine.footprint import peak_rss_bytes
from cutlayer.metrics.interval import proportion
from cutlayer.protocols.events import Event
from cutlayer.records.run import Estimate
from cutlayer.records.training import ClientRound, RoundRecord

Traffic = Mapping[tuple[str, str, str], int]
"""Bytes since the begin of the training by ``up`` or ``down``, the call, and the name of the tensor."""

Totals = tuple[Traffic, float]
"""The bytes and the seconds that the server has computed since the begin of the training."""


class Ledger:
    """Listens to the events of a server and closes the record of a round when the next one begins.

    Args:
        held: ``(clients, classes)``, the number of samples of each class that each client holds; None if unknown.
        told: Called with each round when it is closed.
        rounds: What is known from before an interruption.

    Attributes:
        rounds: The closed rounds, in order.
    """

    def __init__(
        self,
        held: NDArray[np.int64] | None,
        told: Callable[[RoundRecord], None],
        rounds: Sequence[RoundRecord] = (),
    ) -> None:
        self._held, self._told, self.rounds = held, told, list(rounds)
        self._lock = threading.Lock()
        self._totals: Callable[[], Totals] = lambda: ({}, 0.0)
        self._before: Totals = {}, 0.0
        self._number = 0
        self._noted: dict[tuple[int, int], ClientRound] = {}
        self._open(0)

    def begin(self, finished: int, totals: Callable[[], Totals]) -> None:
        """Go on after a number of finished rounds, with the totals of another coordinator."""
        with self._lock:
            self.rounds = [entry for entry in self.rounds if entry.round <= finished]
            self._totals, self._before = totals, totals()
            self._open(0)

    def __call__(self, event: Event) -> None:
        """Hear an event."""
        with self._lock:
            if event.round != self._number:
                self._close()
                self._open(event.round)
            self._ended_s = time.monotonic()
            if event.name == "measured":
                self._measured[event.client] = (
                    np.asarray(event.what["correct"]), np.asarray(event.what["total"]), float(event.what["loss"])
                )  # fmt: skip

    def note(self, round: int, client: int, busy_s: float, rss_bytes: int) -> None:
        """Take down how long a client has computed in a round, and its peak memory."""
        with self._lock:
            self._noted[round, client] = ClientRound(client=client, busy_s=busy_s, rss_bytes=rss_bytes or None)

    def end(self) -> None:
        """Close the last round."""
        with self._lock:
            self._close()
            self._open(0)

    def _open(self, number: int) -> None:
        self._number, self._began_s = number, time.monotonic()
        self._ended_s = self._began_s
        self._measured: dict[int, tuple[NDArray[np.int64], NDArray[np.int64], float]] = {}
        self._noted = {key: entry for key, entry in self._noted.items() if key[0] >= number > 0}

    def _close(self) -> None:
        if not self._number:
            return
        traffic, busy_s = self._totals()
        before, busy_before_s = self._before
        self._before = dict(traffic), busy_s
        spent: dict[str, int] = {}
        for (way, call, name), n_bytes in traffic.items():
            kind = f"{way} {'evaluation' if call == 'evaluate' else name}"
            if (new := n_bytes - before.get((way, call, name), 0)) > 0:
                spent[kind] = spent.get(kind, 0) + new
        entry = RoundRecord(
            round=self._number,
            accuracy=self._accuracy(),
            loss=self._loss(),
            clients=self._clients(),
            traffic=spent,
            seconds=self._ended_s - self._began_s,
            server_s=busy_s - busy_before_s,
            server_rss_bytes=peak_rss_bytes(),
        )
        self.rounds.append(entry)
        self._told(entry)

    def _accuracy(self) -> Estimate | None:
        """On all test samples; where each client has a head of its own, the mean over them."""
        if not self._measured:
            return None
        shares = [float(correct.sum() / total.sum()) for correct, total, _ in self._measured.values()]
        n = int(max(total.sum() for _, total, _ in self._measured.values()))
        mean = sum(shares) / len(shares)
        return replace(proportion(round(mean * n), n), value=mean)

    def _loss(self) -> float:
        losses = [loss / float(total.sum()) for _, total, loss in self._measured.values()]
        return sum(losses) / len(losses) if losses else float("nan")

    def _clients(self) -> tuple[ClientRound, ...]:
        accuracies = self._by_client()
        noted = {client: entry for (number, client), entry in self._noted.items() if number == self._number}
        return tuple(
            replace(noted.get(client, ClientRound(client=client)), accuracy=accuracies.get(client, float("nan")))
            for client in sorted(noted.keys() | accuracies.keys())
        )

    def _by_client(self) -> dict[int, float]:
        """The accuracy of each client on test samples in the proportions of its own classes."""
        if self._held is None or not self._measured:
            return {}
        one = next(iter(self._measured.values())) if len(self._measured) == 1 else None
        found: dict[int, float] = {}
        for client, held in enumerate(self._held, 1):
            measured = self._measured.get(client, one)
            if measured is None:
                continue
            correct, total, _ = measured
            # A class without a test sample says nothing.
            weights = np.where(total > 0, held, 0)
            if weights.sum():
                found[client] = float((weights * correct / np.maximum(total, 1)).sum() / weights.sum())
        return found
