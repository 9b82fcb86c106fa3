"""A client that watches its server: wrong labels that its detectors send, and what they make of the gradients."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cutlayer.defenses.detectors.base import Detector, Watched
from cutlayer.errors import ConfigError
from cutlayer.protocols.cutting import Pieces
from cutlayer.protocols.draws import Role, drawing, generator
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.registry import DETECTORS
from cutlayer.wire.codecs.base import Parameter

SUSPECTS = "suspects the server"
"""Words of the line that says an alarm."""


class Alarm(NamedTuple):
    """The first suspicion of a detector that reaches its threshold.

    Attributes:
        detector: Name of the detector, with its options.
        step: The step of the client within the round.
        score: The suspicion.
        threshold: The threshold.
    """

    detector: str
    step: int
    score: float
    threshold: float

    def __str__(self) -> str:
        return (
            f"the detector {self.detector} {SUSPECTS} with {self.score:.3f}, threshold {self.threshold:g}, at step "
            f"{self.step}"
        )


class Watch:
    """The detectors of one client.

    Each raises at most one alarm, and begins anew where the training goes on from a checkpoint.

    Args:
        plan: The plan.
        number: The client.
        pieces: Its model.
        inputs: Its samples.
        labels: Their labels.
        classes: Number of classes.

    Raises:
        ConfigError: A detector reads the gradient of the first layer, and the head has no weights.
    """

    def __init__(
        self, plan: TrainingPlan, number: int, pieces: Pieces, inputs: Tensor, labels: Tensor, classes: int
    ) -> None:
        self._plan, self._number, self._pieces, self._classes = plan, number, pieces, classes
        self._samples = inputs, labels
        self._first = next(pieces.head.parameters(), None)
        self._alarms = list[Alarm]()
        self.begin()

    def begin(self) -> None:
        """Forget all that was seen."""
        plan, self._raised = self._plan, set[int]()
        self._alarms.clear()
        self._detectors: list[Detector] = [DETECTORS.make(entry.name, **entry.options) for entry in plan.detectors]
        for detector, entry in zip(self._detectors, plan.detectors, strict=True):
            if detector.reads_first_layer and self._first is None:
                raise ConfigError(f"{entry.label} reads the gradient of the client's first weights; cut behind some.")
            tail = nn.Sequential(*(part for part in (self._pieces.tail, self._pieces.end) if part is not None))
            with drawing(plan.seed, Role.DETECT, self._number):
                detector.prepare(self._pieces.head, tail, *self._samples, plan.batch, plan.optimizer.lr)

    def labels(self, labels: Tensor, round: int, step: int, steps: int) -> Tensor:
        """The labels to send with a batch, ``(B,)``.

        Args:
            labels: The true ones.
            round: The round.
            step: The step of the client within the round.
            steps: The steps of the client in each round.
        """
        sent = labels
        for detector in self._detectors:
            if detector.probes:
                draws = generator(self._plan.seed, Role.DETECT, self._number, round, step)
                sent = detector.sent_labels(sent, self._classes, (round - 1) * steps + step, draws)
        return sent

    def look(self, step: int, carrier: Tensor, gradient: Tensor, sent: Tensor, labels: Tensor) -> list[Alarm]:
        """Let the detectors look at a step; return the alarms that it raises.

        Args:
            step: The step of the client within the round.
            carrier: ``(B, *smashed.shape)``, where the gradient enters the client's layers.
            gradient: That gradient as it arrived.
            sent: The labels that were sent.
            labels: The true ones.
        """
        first, raised = torch.empty(0), list[Alarm]()
        if any(detector.reads_first_layer for detector in self._detectors):
            assert self._first is not None
            (first,) = torch.autograd.grad(carrier, self._first, gradient, retain_graph=True)
        watched = Watched(gradient, sent, first, labels)
        for k, detector in enumerate(self._detectors):
            # A gradient of wrong labels says nothing to a detector that has not sent them.
            if watched.is_fake and not detector.probes:
                continue
            score = detector.watch(watched)
            if score is not None and score >= detector.threshold and k not in self._raised:
                self._raised.add(k)
                raised.append(Alarm(self._plan.detectors[k].label, step, score, detector.threshold))
        self._alarms += raised
        return raised

    @property
    def stops(self) -> bool:
        """Whether an alarm was raised after which this client trains no more."""
        return any(self._detectors[k].on_alarm == "stop" for k in self._raised)

    def news(self) -> Mapping[str, Parameter]:
        """The alarms that the server has not been told of, as a parameter; see `told`."""
        return {"alarms": json.dumps(self._alarms)} if self._alarms else {}

    def told(self) -> None:
        """Note that the server has been told of all alarms."""
        self._alarms.clear()
