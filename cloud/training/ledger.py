"""From what happens at the server to one record for each round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import nan

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
    """Listens to the events of a server and makes a record of each round that is over.

    Args:
        held: ``(clients, classes)``, the number of samples of each class that each client holds; None if unknown.
        told: Called with each record.
        apart: Whether each client is a process of its own, whose memory says something.
    """

    def __init__(
        self,
        held: NDArray[np.int64] | None,
        told: Callable[[RoundRecord], None],
        *,
        apart: bool,
    ) -> None:
        self._held, self._told, self._apart = held, told, apart
        self._totals: Callable[[], Totals] = lambda: ({}, 0.0)
        self._began_s: float | None = None
        self.begin(self._totals)

    def begin(self, totals: Callable[[], Totals]) -> None:
        """Go on with the totals of another coordinator, before the first ask of a round."""
        self._totals, self._before, self._began_s = totals, totals(), None
        self._open()

    def tick(self) -> None:
        """Begin to measure the time of a round, unless that of this one runs already."""
        if self._began_s is None:
            self._began_s = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Hear an event; a coordinator raises one at a time."""
        what = event.what
        if event.name == "collected":
            rss_bytes = what.get("rss_bytes") if self._apart else None
            self._noted[event.client] = ClientRound(
                client=event.client, busy_s=float(what.get("busy_s", nan)), rss_bytes=rss_bytes
            )
        elif event.name == "measured":
            counts = np.asarray(what["correct"]), np.asarray(what["total"]), float(what["loss"])
            self._measured[event.client] = counts
        elif event.name == "round":
            self._close(event.round)

    def _open(self) -> None:
        self._measured: dict[int, tuple[NDArray[np.int64], NDArray[np.int64], float]] = {}
        self._noted: dict[int, ClientRound] = {}

    def _close(self, number: int) -> None:
        traffic, busy_s = self._totals()
        before, busy_before_s = self._before
        spent: dict[str, int] = {}
        for (way, call, name), n_bytes in traffic.items():
            kind = f"{way} {'evaluation' if call == 'evaluate' else name}"
            if (new := n_bytes - before.get((way, call, name), 0)) > 0:
                spent[kind] = spent.get(kind, 0) + new
        now_s = time.monotonic()
        entry = RoundRecord(
            round=number,
            accuracy=self._accuracy(),
            loss=self._loss(),
            clients=self._clients(),
            traffic=spent,
            seconds=now_s - (now_s if self._began_s is None else self._began_s),
            server_s=busy_s - busy_before_s,
            server_rss_bytes=peak_rss_bytes(),
        )
        self._before, self._began_s = (traffic, busy_s), now_s
        self._open()
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
        return sum(losses) / len(losses) if losses else nan

    def _clients(self) -> tuple[ClientRound, ...]:
        accuracies, noted = self._by_client(), self._noted
        return tuple(
            replace(noted.get(client, ClientRound(client=client)), accuracy=accuracies.get(client, nan))
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
