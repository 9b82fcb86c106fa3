"""A listener that records what its party sees while it trains; see `cutlayer.records.transcript`.

A client records what it sent with its labels and the gradient that came back, and the weights that it delivered. The
server records what it decoded, the labels where they were sent, the gradient that it answered, what each client
delivered to be averaged, and the averaged weights. All is what travelled, except that the server has its gradient from
before a codec that loses something.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.protocols.events import Event
from cutlayer.records.transcript import Delivered, Recorder, Seen


class Recording:
    """Hears events, and writes a transcript.

    Args:
        folder: Folder of the transcript.
        after: Number of the rounds that are finished; what a transcript holds of later ones is forgotten.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        self._recorder = Recorder(folder)
        self._recorder.rewind(after)
        self._open: dict[tuple[int, int, int], dict[str, NDArray[Any]]] = {}
        self._gathered: dict[tuple[int, int], list[dict[str, NDArray[Any]]]] = {}

    def __call__(self, event: Event) -> None:
        """Record one event.

        Raises:
            WriteError: A file cannot be written.
        """
        where = event.client, event.round, event.step
        if event.name in ("sent", "received"):
            what = {name: event.what[name] for name in ("smashed", "labels") if name in event.what}
            self._open[where] = {name: _array(value) for name, value in what.items()}
        elif event.name in ("learned", "answered"):
            self._see(where, self._open.pop(where, {}) | {"gradient": _array(event.what["gradient"])})
        elif event.name == "gathered":
            gradients = {name: _array(value) for name, value in event.what["gradients"].items()}
            self._gathered.setdefault((event.client, event.round), []).append(gradients)
        elif event.name == "collected":
            self._deliver(event)
        elif event.name in ("delivered", "averaged"):
            # What was answered without a gradient, as with a local loss.
            for unanswered in sorted(step for step in self._open if step[1] == event.round):
                self._see(unanswered, self._open.pop(unanswered))
            self._recorder.end_round(event.round)
            self._recorder.model(event.round, {name: _array(value) for name, value in event.what["weights"].items()})

    def _deliver(self, event: Event) -> None:
        gradients = tuple(self._gathered.pop((event.client, event.round), ()))
        weights = {name: _array(value) for name, value in event.what["weights"].items()}
        if weights:
            self._recorder.deliver(
                Delivered(
                    client=event.client, round=event.round, samples=event.what["samples"], steps=event.what["steps"],
                    weights=weights, gradients=gradients,
                )
            )  # fmt: skip

    def _see(self, where: tuple[int, int, int], arrays: dict[str, NDArray[Any]]) -> None:
        client, round, step = where
        self._recorder.see(Seen(client=client, round=round, step=step, **arrays))


def _array(value: Tensor) -> NDArray[Any]:
    """A copy, because the training may go on with the same memory."""
    return np.array(value.detach().cpu().numpy())
