"""The training steps of a round: in turn, batch by batch, each with its copy, or all together."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from torch import Tensor

from cutlayer.cloud.training.asks import Answer, tensor, unmet, whole
from cutlayer.cloud.training.round import Round
from cutlayer.cloud.training.tails import Batch, Tails
from cutlayer.errors import DecodeError
from cutlayer.protocols.averaging import summed
from cutlayer.protocols.coding import Coding, decoded, decoded_labels
from cutlayer.protocols.draws import Role, generator
from cutlayer.protocols.events import Event, Listener
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.registry import GRADIENT_DEFENSES
from cutlayer.tables import UNDEFENDED
from cutlayer.wire.training import Ask, packed, unpacked

MOST_QUEUED = 2
"""Batches of one client that may wait for their place in the order while the client goes on."""


class Steps:
    """What the server does with smashed data while a round trains.

    Args:
        plan: The plan.
        tails: The server's part of the model.
        classes: Number of classes.
        on: Hears what happens.

    Attributes:
        ready: Answers that the step of another client has made possible, by client.
    """

    def __init__(self, plan: TrainingPlan, tails: Tails, classes: int, on: Listener) -> None:
        self._plan, self._tails, self._classes, self._on = plan, tails, classes, on
        self._gradient_defense = GRADIENT_DEFENSES.make(plan.gradient_defense.name, **plan.gradient_defense.options)
        self._codings: dict[str, Coding] = {}
        self._batches: dict[int, Batch] = {}
        self._gradients: dict[int, Mapping[str, Tensor]] = {}
        self.ready: dict[int, Answer] = {}

    def step(self, round: Round, client: int, ask: Ask) -> Answer | None:
        """Train on a batch, or on the second half of one in a U-shaped plan; None if its place has not come.

        Raises:
            Refused: The client has taken all its steps.
            DecodeError: The tensors do not fit.
            Diverged: The loss or a gradient is not finite; nothing was changed.
        """
        row, served = self._plan.row, round.served.setdefault(client, 0)
        if "gradient" in ask.tensors:
            return self._step_body(round, client, served, ask)
        if served + len(round.queued.get(client, ())) >= round.steps[client]:
            raise unmet(
                f"Client {client} announced {round.steps[client]} steps in round {round.number}, and has taken them."
            )
        if row.order == "together":
            return self._step_together(round, client, ask)
        if row.feedback == "local-loss":
            return self._enqueue(round, client, ask)
        if row.order == "batches" and round.next_in_line != client:
            return None
        if row.u_shaped:
            smashed = self.smashed(client, ask)
            self._on(Event("received", client, round.number, served, {"smashed": smashed.detach()}))
            output = self._tails.forward(client, smashed, round.number, served)
            return {}, {"output": self.output_coding.plain(output)}
        batch = self._batch(client, ask)
        pieces, piece = whole(ask, "pieces", 1, 1), whole(ask, "piece", 0, 0)
        among = whole(ask, "among", len(batch.labels), len(batch.labels))
        self._heard(round, batch, served)
        loss, gradients = self._tails.backward([batch], round.number, served, among, piece)
        if piece == pieces - 1:
            self._tails.apply(client)
            round.served[client] += 1
        return self._answer(round, batch, served, gradients[0], loss)

    def sum(self, round: Round, client: int, ask: Ask) -> Answer | None:
        """Sum the gradients of all heads, which each of them applies then; None if one is missing.

        Raises:
            DecodeError: The gradients cannot be read.
        """
        if client not in self._gradients:
            gradients = unpacked(ask.tensors["gradients"]) if "gradients" in ask.tensors else {}
            self._gradients[client] = gradients
            self._on(Event("gathered", client, round.number, whole(ask, "step", 0, 0), {"gradients": gradients}))
        if not self._gradients.keys() >= set(round.order):
            return None
        # The loss is the mean over the union, so that each gradient carries the share of its batch already.
        total = packed(summed(self._gradients, dict.fromkeys(self._gradients, 1.0)))
        self._gradients = {}
        self.ready.update({other: ({}, {"gradients": total}) for other in round.order})
        return self.ready.pop(client)

    def forget(self, client: int) -> None:
        """Drop what waits of a client without which the round goes on."""
        self._batches.pop(client, None)
        self._gradients.pop(client, None)
        self.ready.pop(client, None)

    def smashed(self, client: int, ask: Ask) -> Tensor:
        """The smashed data of an ask. Raises DecodeError."""
        smashed = decoded(tensor(ask, "smashed"))
        spec = self._tails.pieces(client).smashed
        assert spec is not None
        if tuple(smashed.shape[1:]) != spec.shape or not len(smashed):
            raise DecodeError(
                f"The smashed data of client {client} have the shape {tuple(smashed.shape)}; at its cut it is "
                f"(N, {', '.join(map(str, spec.shape))}), with N above 0."
            )
        return smashed

    @property
    def output_coding(self) -> Coding:
        """The codec of what a U-shaped plan sends to the last layers: smashed data as well."""
        return Coding(self._plan.codec.smashed)

    def residuals(self) -> dict[str, Tensor]:
        """Copies of what the codecs have lost and still have to send, by client."""
        return {key: coding.residual.clone() for key, coding in self._codings.items() if coding.residual is not None}

    def load(self, residuals: Mapping[str, Tensor]) -> None:
        """Undo `residuals`."""
        for client, residual in residuals.items():
            self._coding(int(client)).residual = residual

    def _step_body(self, round: Round, client: int, served: int, ask: Ask) -> Answer:
        gradient = self._tails.backward_body(client, decoded(ask.tensors["gradient"]), round.number, served)
        round.served[client] += 1
        self._on(Event("answered", client, round.number, served, {"gradient": gradient}))
        return {}, {"gradient": self._coding(client).encode(gradient)}

    def _step_together(self, round: Round, client: int, ask: Ask) -> Answer | None:
        """Step once on the batches of all clients that have one, when all are there."""
        if client not in self._batches:
            self._batches[client] = self._batch(client, ask)
        active = sorted(round.active)
        if not self._batches.keys() >= set(active):
            return None
        step, batches = round.served[client], [self._batches.pop(other) for other in active]
        for batch in batches:
            self._heard(round, batch, step)
        loss, gradients = self._tails.step(batches, round.number, step)
        union = sum(len(batch.labels) for batch in batches)
        for batch, gradient in zip(batches, gradients, strict=True):
            round.served[batch.client] = step + 1
            if self._plan.row.sync == "round":
                # Each head steps on its own, by the gradient of the mean over its own batch.
                gradient = gradient * (union / len(batch.labels))
            parameters, tensors = self._answer(round, batch, step, gradient, loss)
            if self._plan.row.sync == "step":
                parameters["share"] = len(batch.labels) / union
            self.ready[batch.client] = parameters, tensors
        return self.ready.pop(client)

    def _enqueue(self, round: Round, client: int, ask: Ask) -> Answer | None:
        """Take a batch of a client that waits for no gradient, and train on those whose place in the order has come."""
        queue = round.queued.setdefault(client, deque())
        if len(queue) >= MOST_QUEUED:
            return None
        queue.append(self._batch(client, ask))
        self.work_off(round)
        return {}, {}

    def work_off(self, round: Round) -> None:
        """Train on the queued batches whose place in the order has come. Raises Diverged."""
        while (following := round.next_in_line) is not None and round.queued.get(following):
            batch, step = round.queued[following].popleft(), round.served.setdefault(following, 0)
            self._heard(round, batch, step)
            self._tails.step([batch], round.number, step)
            round.served[following] += 1

    def _batch(self, client: int, ask: Ask) -> Batch:
        smashed = self.smashed(client, ask)
        return Batch(client, smashed, decoded_labels(tensor(ask, "labels"), len(smashed), self._classes))

    def _heard(self, round: Round, batch: Batch, step: int) -> None:
        what = {"smashed": batch.smashed.detach(), "labels": batch.labels}
        self._on(Event("received", batch.client, round.number, step, what))

    def _answer(self, round: Round, batch: Batch, step: int, gradient: Tensor, loss: float) -> Answer:
        if self._plan.gradient_defense != UNDEFENDED:
            draws = generator(self._plan.seed, Role.NOISE, batch.client, round.number, step)
            gradient = self._gradient_defense.protect_cut_gradient(gradient, batch.labels, draws)
        self._on(Event("answered", batch.client, round.number, step, {"gradient": gradient, "loss": loss}))
        return {"loss": loss}, {"gradient": self._coding(batch.client).encode(gradient)}

    def _coding(self, client: int) -> Coding:
        key = str(client)
        if key not in self._codings:
            self._codings[key] = Coding(self._plan.codec.gradient, self._plan.codec.error_feedback)
        return self._codings[key]
