"""The client's half of every protocol: ask for a turn, train with what the server answers, and measure.

A client's run is a loop of asks, and the server orders everything by when it answers. All that a client computes
follows from the plan, from counters and from what the server answers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.data.splits import Dataset
from cutlayer.defenses.shared.beside import LearnsBeside
from cutlayer.defenses.updates.fixed import OutOfRange
from cutlayer.defenses.updates.inspection import repeated_rows
from cutlayer.defenses.updates.secure_aggregation import Keys
from cutlayer.edge.training.session import RolledBack
from cutlayer.edge.training.updates import Updates
from cutlayer.edge.training.watch import Watch
from cutlayer.errors import AlarmError, ConfigError, DecodeError, WireError
from cutlayer.machine.footprint import peak_rss_bytes
from cutlayer.protocols import masking
from cutlayer.protocols.averaging import shared_names
from cutlayer.protocols.barriers import checkpoint_due
from cutlayer.protocols.coding import Coding, decoded, encoded_labels
from cutlayer.protocols.counts import Counts, counted
from cutlayer.protocols.cutting import pieces
from cutlayer.protocols.draws import Role, computed, drawing, generator
from cutlayer.protocols.events import Event, Listener, unheard
from cutlayer.protocols.label_privacy import randomized
from cutlayer.protocols.party import Party, digest, use_threads
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.private import PrivateGradients
from cutlayer.protocols.schedule import batches
from cutlayer.registry import GRADIENT_DEFENSES, defense_from
from cutlayer.spec import TensorSpec
from cutlayer.training import loss_of
from cutlayer.wire.codecs.base import NO_PARAMETERS, Encoded, Parameter
from cutlayer.wire.training import NO_TENSORS, WINDOW, Call, Reply, packed, unpacked

EVALUATED, EVALUATED_BYTES = 250, 64 << 20
"""Test samples in one ask, and bytes of their smashed data, at most."""


class Asks(Protocol):
    """What carries the asks; `cutlayer.edge.training.session.Session` is one."""

    def ask(
        self,
        call: Call,
        parameters: Mapping[str, Parameter] = NO_PARAMETERS,
        tensors: Mapping[str, Encoded] = NO_TENSORS,
    ) -> Reply:
        """Ask, and wait for the answer."""

    def submit(
        self,
        call: Call,
        parameters: Mapping[str, Parameter] = NO_PARAMETERS,
        tensors: Mapping[str, Encoded] = NO_TENSORS,
    ) -> Future[Reply]:
        """Ask without waiting. The server takes asks in the order of these calls."""


class Passed(NamedTuple):
    """A batch that has passed through the head.

    Attributes:
        carrier: What the gradient at the cut enters at.
        smashed: What leaves the device.
        penalty: What the defense adds to the loss, if it does.
    """

    carrier: Tensor
    smashed: Tensor
    penalty: Tensor | None


class Client:
    """One client of a training.

    Args:
        plan: The plan.
        number: The number of this client, from 1.
        model: The whole model as it is before training; it becomes this client's.
        input: One input of the model.
        classes: Number of classes.
        train: The training samples of this client.
        test: The test samples of all.
        session: What carries the asks.
        on: Hears what happens; see `cutlayer.protocols.events`.

    Attributes:
        rounds: Number of rounds that are finished.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        number: int,
        model: nn.Module,
        input: TensorSpec,
        classes: int,
        train: Dataset,
        test: Dataset,
        session: Asks,
        *,
        on: Listener = unheard,
    ) -> None:
        self.plan, self.number, self._classes, self._session, self._on = plan, number, classes, session, on
        self._inputs, self._labels = torch.from_numpy(train.inputs), torch.from_numpy(train.labels)
        if plan.dp.label_epsilon:
            # Drawn once for each sample. No other use of them is made than to send them.
            draws = generator(plan.seed, Role.LABELS, number)
            self._labels = torch.from_numpy(randomized(train.labels, classes, plan.dp.label_epsilon, draws))
        self._test = torch.from_numpy(test.inputs), torch.from_numpy(test.labels)
        self._pieces = pieces(plan, number, model, input, classes)
        self._party = Party(self._pieces.at_client, plan.optimizer)
        self._shared = set().union(*(shared_names(part, plan.bn) for part in self._pieces.at_client))
        self._begun = digest(self._shared_weights())
        smashed, gradient, feedback = plan.codec.smashed, plan.codec.gradient, plan.codec.error_feedback
        # Gradients go up in a U-shaped plan only.
        self._codings = {"smashed": Coding(smashed, feedback), "gradient": Coding(gradient, feedback)}
        self._defense = defense_from({"name": plan.defense.name, **plan.defense.options})
        self._learns = any(isinstance(part, LearnsBeside) for part in self._defense.parts)
        hidden = plan.gradient_defense
        self._gradient_defense = GRADIENT_DEFENSES.make(hidden.name, **hidden.options)
        self._updates = Updates(plan, number, self._pieces.head, self._inputs, self._labels)
        self._private = PrivateGradients(self._pieces.head, plan.dp) if plan.dp.clip else None
        self._watch: Watch | None = None
        if plan.detectors:
            self._watch = Watch(plan, number, self._pieces, self._inputs, self._labels, classes)
        self._open: tuple[Tensor, Tensor] = torch.empty(0), torch.empty(0)
        self._waited_s = 0.0
        self.rounds = 0

    def open(self) -> int:
        """Open the session; return the number of rounds that are finished."""
        parameters: dict[str, Parameter] = {
            "client": self.number,
            "plan": self.plan.id,
            "samples": len(self._labels),
            "classes": self._classes,
            "model": self._begun,
        }
        return int(self._ask(Call.OPEN, parameters).parameters["round"])

    def round(self, number: int) -> None:
        """Take part in one round, as far as the server wants it.

        Raises:
            RolledBack: The run has gone back to a checkpoint.
            Refused: The training has failed; the message says where.
            AlarmError: A detector suspects the server, and is to end the training then.
        """
        use_threads(self.plan.threads)
        again = True
        while again:
            keys = Keys() if self.plan.secure_aggregation is not None else None
            tensors = {} if keys is None else {"key": masking.announced(keys.public)}
            turn = self._ask(Call.TURN, {"round": number, "steps": self._n_asks(number)}, tensors)
            if turn.parameters["part"]:
                self._take_turn(number, turn, keys)
            end = self._ask(Call.EVALUATE, {"round": number})
            again = bool(end.parameters.get("again"))
        if end.parameters["evaluate"]:
            self._load_shared(end)
            self._evaluate(number)
        self.rounds = number

    def saved(self, number: int) -> None:
        """Tell the server that this client has written its checkpoint, and wait for the others."""
        self._ask(Call.CHECKPOINT, {"round": number})

    def close(self) -> None:
        """Tell the server that this client has ended."""
        self._ask(Call.CLOSE)

    def weights(self) -> dict[str, Tensor]:
        """Copies of the weights of this client's layers, by their names in the whole model."""
        return self._party.weights()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint at the end of a round needs: weights, optimiser state, and numbers for JSON."""
        weights = {f"head/{name}": value for name, value in self._party.weights().items()}
        for name, coding in self._codings.items():
            if coding.residual is not None:
                weights[f"residual/{name}"] = coding.residual.clone()
        weights |= self._updates.state()
        weights |= {f"defense/{name}": value for name, value in self._defense.training_state().items()}
        return weights, self._party.optimizer_state(), {"plan": self.plan.id, "rounds": self.rounds}

    def load(self, weights: dict[str, Tensor], optimizer: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Undo `state`.

        Raises:
            ConfigError: It is the state of another plan.
        """
        if numbers["plan"] != self.plan.id:
            raise ConfigError(
                f"The checkpoint belongs to the plan {numbers['plan']}, not to {self.plan.id}; name another folder."
            )
        # The run may have gone back in the middle of a step, or of measuring.
        self._party.clear()
        self._party.evaluating(False)
        self._party.load({name.removeprefix("head/"): v for name, v in weights.items() if name.startswith("head/")})
        self._party.load_optimizer(optimizer)
        for name, coding in self._codings.items():
            coding.residual = weights.get(f"residual/{name}")
        self._updates.load(weights)
        prefix = "defense/"
        self._defense.load_training_state(
            {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        )
        if self._watch is not None:
            self._watch.begin()
        self.rounds = int(numbers["rounds"])

    def _ask(
        self,
        call: Call,
        parameters: Mapping[str, Parameter] = NO_PARAMETERS,
        tensors: Mapping[str, Encoded] = NO_TENSORS,
    ) -> Reply:
        """Ask, and leave the time until the answer out of what this client computed."""
        started = time.monotonic()
        try:
            return self._session.ask(call, parameters, tensors)
        finally:
            self._waited_s += time.monotonic() - started

    # One turn.

    def _take_turn(self, number: int, turn: Reply, keys: Keys | None) -> None:
        plan, began, waited_s = self.plan, time.monotonic(), self._waited_s
        self._load_shared(turn)
        if plan.optimizer_state == "reset":
            self._party.reset()
        elif "optimizer" in turn.tensors:
            self._party.load_optimizer({**self._own_optimizer(), **unpacked(turn.tensors["optimizer"])})
        self._updates.begin()
        step = 0
        for step, index in enumerate(self._batches(number)):
            if not self._step(number, step, index):
                return
        for missing in range(step + 1, int(turn.parameters.get("steps", 0))):
            # Others have more batches; the heads stay the same by the sum of their gradients.
            if not self._step_with_all(number, missing):
                return
        tensors: dict[str, Encoded] = {}
        if plan.row.head != "own":
            weights = self._shared_weights()
            if plan.row.sync == "round":
                weights = self._updates.delivered(number, weights, step + 1)
            tensors["weights"] = packed(weights if keys is None else self._hidden(number, turn, keys, weights))
            self._on(Event("delivered", self.number, number, step, {"weights": weights}))
            travels = plan.row.head == "handed" and plan.optimizer_state == "keep"
            if travels or plan.optimizer_state == "average":
                state = self._party.optimizer_state()
                tensors["optimizer"] = packed({key: value for key, value in state.items() if self._is_shared(key)})
        busy_s = time.monotonic() - began - (self._waited_s - waited_s)
        costs = {"busy_s": busy_s, "rss_bytes": peak_rss_bytes()}
        alarms = self._watch.news() if self._watch is not None else {}
        self._ask(Call.AGGREGATE, {"round": number, **costs, **alarms}, tensors)
        if self._watch is not None:
            self._watch.told()

    def _hidden(self, number: int, turn: Reply, keys: Keys, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mask weights; if one cannot be summed, the server ends the training, which raises Refused."""
        try:
            return masking.hidden(self.plan, number, self.number, keys, turn, weights)
        except OutOfRange as error:
            self._ask(Call.AGGREGATE, {"round": number, "beyond": error.name})
            raise

    def _step(self, number: int, step: int, index: NDArray[np.intp]) -> bool:
        """Train on one batch; return False if the round goes on without this client."""
        row = self.plan.row
        inputs, labels = self._batch(number, step, index)
        if row.tail == "none" and self._private is not None:
            self._private.apply_loss(inputs, labels, self._noise(number, step))
            return self._apply(number, step)
        if row.tail == "none":
            with drawing(self.plan.seed, Role.DROPOUT, self.number, number, step):
                loss = loss_of(self._pieces.head, inputs, labels)
            loss.backward()
            return self._apply(number, step)
        if row.feedback == "local-loss":
            return self._step_by_local_loss(number, step, index, inputs, labels)
        if self.plan.micro_batches > 1 and len(index) > 1:
            return self._step_in_pieces(number, step, index)
        passed = self._forward(number, step, inputs)
        tensors = {"smashed": self._codings["smashed"].encode(passed.smashed, index, len(self._labels))}
        sent = labels
        if self._watch is not None:
            sent = self._watch.labels(labels, number, step, self._n_asks(number))
        if not row.u_shaped:
            tensors["labels"] = encoded_labels(sent)
        what = {"index": index, "smashed": passed.smashed, "labels": sent}
        self._on(Event("sent", self.number, number, step, what))
        reply = self._ask(Call.STEP, {"round": number, "step": step}, tensors)
        if row.u_shaped and not reply.parameters.get("dropped"):
            gradient = self._through_end(number, step, reply, labels)
            tensors = {"gradient": self._codings["gradient"].encode(gradient)}
            reply = self._ask(Call.STEP, {"round": number, "step": step}, tensors)
        if reply.parameters.get("dropped"):
            self._party.clear()
            return False
        # Where the gradients of all heads are summed, each carries the share of its batch.
        share, gradient = float(reply.parameters.get("share", 1.0)), decoded(reply.tensors["gradient"])
        if self._watch is not None:
            self._look(self._watch, number, step, passed.carrier, gradient, sent, labels)
        # The head takes no step on wrong labels.
        if sent is labels:
            self._backward(number, step, passed, gradient, share)
        if row.sync == "step":
            return self._step_with_all(number, step, (inputs, labels))
        return self._apply(number, step)

    def _look(
        self, watch: Watch, number: int, step: int, carrier: Tensor, gradient: Tensor, sent: Tensor, labels: Tensor
    ) -> None:
        """Let the detectors look at a step. Raises AlarmError where the client trains no more."""
        check_gradient(step, gradient, carrier)
        raised = watch.look(step, carrier, gradient, sent, labels)
        for alarm in raised:
            self._on(Event("alarm", self.number, number, step, alarm._asdict() | {"said": str(alarm)}))
        if watch.stops:
            with suppress(WireError, RolledBack):
                self._ask(Call.AGGREGATE, {"round": number, "stopped": step, **watch.news()})
            raise AlarmError(f"Client {self.number} trains no more in round {number}: {raised[0]}.")

    def _step_in_pieces(self, number: int, step: int, index: NDArray[np.intp]) -> bool:
        """Train on one batch whose pieces are computed, sent and answered at the same time; both sides step once."""
        pieces = np.array_split(index, min(self.plan.micro_batches, len(index)))
        sent: deque[tuple[Passed, float, Future[Reply]]] = deque()
        for k, part in enumerate(pieces):
            if len(sent) == WINDOW and not self._take_piece(number, step, *sent.popleft()):
                return False
            counter = step * self.plan.micro_batches + k
            inputs, labels = self._batch(number, counter, part)
            passed = self._forward(number, counter, inputs)
            tensors = {
                "smashed": self._codings["smashed"].encode(passed.smashed, part, len(self._labels)),
                "labels": encoded_labels(labels),
            }
            what = {"index": part, "smashed": passed.smashed, "labels": labels}
            self._on(Event("sent", self.number, number, step, what))
            parameters = {"round": number, "step": step, "piece": k, "pieces": len(pieces), "among": len(index)}
            answered = self._session.submit(Call.STEP, parameters, tensors)
            sent.append((passed, len(part) / len(index), answered))
        taken = [self._take_piece(number, step, *piece) for piece in sent]
        return all(taken) and self._apply(number, step)

    def _take_piece(self, number: int, step: int, passed: Passed, share: float, answered: Future[Reply]) -> bool:
        """Wait for the gradient of a piece and add that of the head; return False if the round goes on without it."""
        started = time.monotonic()
        reply = answered.result()
        self._waited_s += time.monotonic() - started
        if reply.parameters.get("dropped"):
            self._party.clear()
            return False
        self._backward(number, step, passed, decoded(reply.tensors["gradient"]), share)
        return True

    def _forward(self, number: int, step: int, inputs: Tensor) -> Passed:
        """Compute the smashed data.

        Where the defense has no gradient, that of what was sent is taken for that of what the head gave.
        """
        plan = self.plan
        features = computed(self._pieces.head, inputs, plan.seed, self.number, number, step)
        self._open = inputs, features
        # A decoder that learns beside the head draws its first weights.
        with drawing(plan.seed, Role.PROTECT, self.number, number, step) if self._learns else nullcontext():
            penalty = self._defense.penalty(inputs, features)
        if not self._defense.protects:
            return Passed(features, features.detach(), penalty)
        protected = self._defense.protect(features, generator(plan.seed, Role.PROTECT, self.number, number, step))
        return Passed(protected if protected.requires_grad else features, protected.detach().float(), penalty)

    def _backward(self, number: int, step: int, passed: Passed, gradient: Tensor, share: float) -> None:
        """Add the gradients of the head to what it has: those of the loss, and those of the penalty times a share."""
        carrier, penalty = passed.carrier, passed.penalty
        check_gradient(step, gradient, carrier)
        self._on(Event("learned", self.number, number, step, {"gradient": gradient}))
        if not carrier.requires_grad:
            return
        if self._private is not None:
            self._step_privately(number, step, passed, gradient)
        elif penalty is None:
            carrier.backward(gradient)
        else:
            torch.autograd.backward([carrier, penalty], [gradient, torch.tensor(share)])

    def _step_privately(self, number: int, step: int, passed: Passed, gradient: Tensor) -> None:
        """Set the gradients of the head by DP-SGD."""
        assert self._private is not None
        if passed.penalty is not None:
            raise ConfigError("dp clips the gradients of single samples, and this defense adds one of the whole batch.")
        inputs, features = self._open
        if passed.carrier is not features:
            (gradient,) = torch.autograd.grad(passed.carrier, features, gradient)
        self._private.apply(inputs, gradient, self._noise(number, step))

    def _noise(self, number: int, step: int) -> np.random.Generator:
        """The source of the noise of DP-SGD."""
        return generator(self.plan.seed, Role.NOISE, self.number, number, (1 << 31) + step)

    def _through_end(self, number: int, step: int, reply: Reply, labels: Tensor) -> Tensor:
        """Compute the loss behind the server's layers; return the gradient at their output."""
        end = self._pieces.end
        assert end is not None
        output = decoded(reply.tensors["output"]).requires_grad_()
        logits = computed(end, output, self.plan.seed, self.number, number, step)
        functional.cross_entropy(logits, labels).backward()
        assert output.grad is not None
        draws = generator(self.plan.seed, Role.NOISE, self.number, number, step)
        gradient: Tensor = self._gradient_defense.protect_cut_gradient(output.grad, labels, draws)
        return gradient

    def _step_by_local_loss(
        self, number: int, step: int, index: NDArray[np.intp], inputs: Tensor, labels: Tensor
    ) -> bool:
        auxiliary = self._pieces.auxiliary
        assert auxiliary is not None
        passed = self._forward(number, step, inputs)
        if step % self.plan.auxiliary_every == 0:
            tensors = {
                "smashed": self._codings["smashed"].encode(passed.smashed, index, len(self._labels)),
                "labels": encoded_labels(labels),
            }
            what = {"index": index, "smashed": passed.smashed, "labels": labels}
            self._on(Event("sent", self.number, number, step, what))
            reply = self._ask(Call.STEP, {"round": number, "step": step}, tensors)
            if reply.parameters.get("dropped"):
                return False
        value = functional.cross_entropy(auxiliary(passed.carrier), labels)
        (value if passed.penalty is None else value + passed.penalty).backward()
        return self._apply(number, step)

    def _step_with_all(self, number: int, step: int, batch: tuple[Tensor, Tensor] | None = None) -> bool:
        """Apply the sum of the gradients of all heads; this one has none where there is no batch left."""
        gradients = self._updates.gradients(number, step, self._party.gradients(), batch)
        tensors = {"gradients": packed(gradients)} if gradients else {}
        reply = self._ask(Call.AGGREGATE, {"round": number, "step": step, "sum": True}, tensors)
        if reply.parameters.get("dropped"):
            self._party.clear()
            return False
        self._party.set_gradients(unpacked(reply.tensors["gradients"]))
        return self._apply(number, step)

    def _apply(self, number: int, step: int) -> bool:
        """Apply the gradients, unless one is not finite: then the server ends the training, which raises Refused."""
        if not self._party.finite():
            self._party.clear()
            self._ask(Call.AGGREGATE, {"round": number, "step": step, "diverged": step})
        self._party.step()
        return True

    # Measuring.

    def _evaluate(self, number: int) -> None:
        """Measure the accuracy on the test samples, with what the round has ended with."""
        self._party.evaluating()
        counts: Counts | None = None
        inputs, labels = self._test
        spec = self._pieces.smashed
        n = max(1, min(EVALUATED, EVALUATED_BYTES // spec.nbytes)) if spec else EVALUATED
        for first in range(0, len(labels), n):
            x, y = inputs[first : first + n], labels[first : first + n]
            last = first + n >= len(labels)
            with torch.no_grad():
                output = self._pieces.head(x)
            if self._pieces.tail is not None:
                protected = self._defense.protect(
                    output, generator(self.plan.seed, Role.PROTECT, self.number, number, (1 << 31) + first)
                )
                tensors = {"smashed": self._codings["smashed"].plain(protected)}
                if self._pieces.end is None:
                    tensors["labels"] = encoded_labels(y)
                    self._ask(Call.EVALUATE, {"round": number, "last": last}, tensors)
                    continue
                reply = self._ask(Call.EVALUATE, {"round": number}, tensors)
                with torch.no_grad():
                    output = self._pieces.end(decoded(reply.tensors["output"]))
            here = counted(output, y, self._classes)
            counts = here if counts is None else counts + here
        self._party.evaluating(False)
        if counts is not None:
            tensors = {"correct": encoded_labels(counts.correct), "total": encoded_labels(counts.total)}
            self._ask(Call.EVALUATE, {"round": number, "last": True, "loss": counts.loss}, tensors)

    # What travels.

    def _batch(self, number: int, step: int, index: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """The samples of a batch and their labels, as the head is trained on them."""
        chosen = torch.from_numpy(index)
        return self._updates.batch(number, step, self._inputs[chosen], self._labels[chosen])

    def _batches(self, number: int) -> Iterator[NDArray[np.intp]]:
        for epoch in range(self.plan.epochs):
            yield from batches(self.plan, self.number, len(self._labels), number, epoch)

    def _n_asks(self, number: int) -> int:
        """The number of batches of a round that the server gets."""
        every = self.plan.auxiliary_every if self.plan.row.feedback == "local-loss" else 1
        return -(-sum(1 for _ in self._batches(number)) // every)

    def _shared_weights(self) -> dict[str, Tensor]:
        return {name: value for name, value in self._party.weights().items() if name in self._shared}

    def _load_shared(self, reply: Reply) -> None:
        if "weights" in reply.tensors:
            weights = unpacked(reply.tensors["weights"])
            if weights.keys() != self._shared:
                raise DecodeError("The server's head has other layers than this client's; compare the plans.")
            if suspicious := repeated_rows(weights):
                raise AlarmError(f"Client {self.number} trains no more with the weights it was sent: {suspicious[0]}")
            self._party.load(weights)

    def _is_shared(self, key: str) -> bool:
        return key.rpartition("/")[0] in self._shared

    def _own_optimizer(self) -> dict[str, Tensor]:
        return {key: value for key, value in self._party.optimizer_state().items() if not self._is_shared(key)}


def check_gradient(step: int, gradient: Tensor, carrier: Tensor) -> None:
    """Refuse a gradient that does not fit what it belongs to. Raises DecodeError."""
    if gradient.shape != carrier.shape:
        raise DecodeError(
            f"The gradient of step {step} has shape {tuple(gradient.shape)}, and must have {tuple(carrier.shape)}."
        )


def run(
    client: Client,
    save: Callable[[Client], None] | None = None,
    restore: Callable[[Client, int], None] | None = None,
) -> None:
    """Take part in a training from where the run stands to its end.

    Args:
        client: The client, as it is before training.
        save: Writes the client's `state` at the end of a round.
        restore: Loads the state that the client had at the end of this round.

    Raises:
        ConfigError: The run goes on after a round whose state this client has not kept.
        Refused: The training has failed; the message says where.
    """
    begin = client.state()
    finished = client.open()
    while True:
        try:
            if finished == 0:
                client.load(*begin)
            elif finished != client.rounds and restore is None:
                raise ConfigError(f"The run goes on after round {finished}, of which this client has no checkpoint.")
            elif restore is not None and finished:
                restore(client, finished)
            for number in range(finished + 1, client.plan.rounds + 1):
                client.round(number)
                if checkpoint_due(client.plan, number):
                    if save is not None:
                        save(client)
                    client.saved(number)
            client.close()
            return
        except RolledBack as back:
            finished = back.round
