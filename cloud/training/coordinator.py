"""The server's half of every protocol: who is served when, what is computed, and what is averaged.

A client asks and is answered, at once or later: the server orders everything by when it answers. All that it computes
follows from the plan, from counters and from what the clients send, whatever order their asks arrive in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from threading import Lock, Timer
from typing import Any

import torch
from torch import Tensor, nn

from cutlayer.cloud.training.asks import Answer, alarms, refused, tensor, unmet, whole
from cutlayer.cloud.training.members import Done, Members
from cutlayer.cloud.training.round import Round
from cutlayer.cloud.training.steps import Steps
from cutlayer.cloud.training.tails import Diverged, Left, Tails
from cutlayer.errors import DecodeError, Refused, SplitError, WriteError
from cutlayer.foreign import shown
from cutlayer.protocols import masking
from cutlayer.protocols.averaging import averaged
from cutlayer.protocols.barriers import checkpoint_due, evaluation_due
from cutlayer.protocols.coding import decoded_labels
from cutlayer.protocols.counts import Counts
from cutlayer.protocols.draws import Role, generator
from cutlayer.protocols.events import Event, Listener, unheard
from cutlayer.protocols.party import are_finite, digest, use_threads
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.schedule import turns
from cutlayer.spec import TensorSpec
from cutlayer.wire.codecs.base import Encoded, Parameter, as_array
from cutlayer.wire.training import Ask, Call, Reply, packed, unpacked

log = logging.getLogger("cutlayer.training")


ALL_GONE = 10
"""Where nobody waits for a client, it may compute for long: all are given up after so many times `straggler_s`."""

_DIVERGED = "The training diverged: {}. Nothing of it was applied; use a lower learning rate."


class Coordinator:
    """The server of one training. Any thread may call it.

    Args:
        plan: The plan.
        model: The whole model as it is before training; it becomes the server's.
        input: One input of the model.
        classes: Number of classes.
        tails: Makes the server's part of the model; a dishonest server has another one.
        on: Hears what happens; see `cutlayer.protocols.events`.
        saved: Called with a round when all clients have written their checkpoints of it, before they are told.
        clock: Monotonic clock in seconds.

    Attributes:
        tails: The server's part of the model.
        rounds: Number of rounds that are finished.
        traffic: Bytes of tensors, by ``up`` or ``down``, the call, and the name of the tensor.
        busy_s: Time in seconds that the server computed.
        failed: Why the training has failed for everybody; None as long as it has not.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        model: nn.Module,
        input: TensorSpec,
        classes: int,
        *,
        tails: Callable[[TrainingPlan, nn.Module, TensorSpec, int], Tails] = Tails,
        on: Listener = unheard,
        saved: Callable[[int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan, self._classes, self._on, self._saved, self._clock = plan, classes, on, saved, clock
        self.tails = tails(plan, model, input, classes)
        self.rounds = 0
        self.traffic: dict[tuple[str, str, str], int] = {}
        self.busy_s = 0.0
        self._lock = Lock()
        self._steps = Steps(plan, self.tails, classes, on)
        cuts = {plan.cut_of(client): client for client in range(1, plan.clients + 1)}
        begun = {cut: digest(self.tails.head_weights(client)) for cut, client in cuts.items()}
        self._members = Members(plan, classes, begun)
        self._optimizer: dict[str, Tensor] = {}
        self._heads: dict[str, Encoded] = {}
        self._round: Round | None = None
        self._at_checkpoint: set[int] = set()
        self._saved_round = 0
        self.failed: Refused | None = None
        self._awaited_since: dict[int, float] = {}
        self._moved: set[int] = set()
        self._told: set[int] = set()
        self._timer: Timer | None = None
        self._timer_s, self._heard_s = 0.0, clock()
        self._stopped = False

    def take(self, ask: Ask, done: Done) -> None:
        """Take an ask, and answer it and others that it makes possible, now or at a later call, from any thread."""
        answers: list[tuple[Done, Reply | Refused]] = []
        with self._lock:
            if self._stopped:
                return
            self._heard_s = self._clock()
            try:
                if self.failed is not None:
                    self._told.add(self._members.client_of(ask.session))
                    raise self.failed
                self._moved.add(self._members.enter(ask, done))
            except Exception as error:
                answers.append((done, refused(error)))
            else:
                self._count("up", ask.call, ask.tensors)
                self._serve(answers)
        for answer, reply in answers:
            answer(reply)

    def waiting(self, session: str) -> str:
        """Who a client waits for, as a sentence without a full stop. It waits for no computation."""
        client = self._members.client_of(session)
        others = self.awaited - {client}
        return f"Client {client} waits for {_clients(others) if others else 'the server'} in {self._where()}"

    def awaits(self, silent_s: float) -> str:
        """Who waits for which clients that have been silent for so long, as a sentence; empty if there are none."""
        now = self._clock()
        silent = {client: now - since for client, since in self._awaited_since.items() if now - since >= silent_s}
        # While the server computes, nobody waits for a client.
        if not silent or not self._lock.acquire(blocking=False):
            return ""
        try:
            held = {client for client, member in self._members.here.items() if member.asks} - silent.keys()
            where = self._where()
        finally:
            self._lock.release()
        who = f"{_clients(held)} wait{'s'[: len(held) == 1]}" if held else "the training waits"
        return f"{who.capitalize()} for {_clients(silent)} in {where}, silent for {max(silent.values()):.0f} s."

    def _where(self) -> str:
        return f"round {self._round.number}" if self._round else "the first round"

    @property
    def gone(self) -> set[int]:
        """Clients that the others no longer wait for."""
        return self._members.gone

    @property
    def awaited(self) -> frozenset[int]:
        """The clients that the training cannot go on without now."""
        return frozenset(self._awaited_since)

    @property
    def finished(self) -> bool:
        """Whether all clients have closed their sessions, or know why the training has failed."""
        return not self._members.everybody - self._members.closed - self._told

    def close(self) -> None:
        """Take no more asks and say nothing more to listeners, when what is computed now is done."""
        with self._lock:
            self._stopped = True
            if self._timer:
                self._timer.cancel()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint at the end of a round needs: weights, optimiser states, and numbers for JSON."""
        weights, optimizers = self.tails.state()
        optimizers.update({f"head/{name}": value for name, value in self._optimizer.items()})
        weights.update({f"residual/{client}": lost for client, lost in self._steps.residuals().items()})
        traffic = [[*key, n_bytes] for key, n_bytes in sorted(self.traffic.items())]
        return weights, optimizers, {"plan": self._plan.id, "rounds": self.rounds, "traffic": traffic}

    def load(self, weights: Mapping[str, Tensor], optimizers: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Undo `state`, before the first ask.

        Raises:
            SplitError: It is the state of another plan.
        """
        if numbers["plan"] != self._plan.id:
            raise SplitError(
                f"The checkpoint belongs to the plan {numbers['plan']}, not to {self._plan.id}; name another folder."
            )
        layers, residuals = _parted(weights, "residual/")
        tails, self._optimizer = _parted(optimizers, "head/")
        self.tails.load(layers, tails)
        self._steps.load(residuals)
        self.rounds = self._saved_round = int(numbers["rounds"])
        self.traffic = {(way, call, name): n_bytes for way, call, name, n_bytes in numbers["traffic"]}

    # The order of service: which ask can be answered now.

    def _serve(self, answers: list[tuple[Done, Reply | Refused]]) -> None:
        """Answer all asks that can be answered."""
        started = self._clock()
        use_threads(self._plan.threads)
        progress = True
        while progress and self.failed is None:
            try:
                self._move()
            except Diverged as error:
                self._fail(error)
            except Exception as error:
                self._halt(error)
            progress = False
            announced = 0 if self._round is None else len(self._round.steps)
            for client, member in self._members.here.items():
                while member.asks and self.failed is None:
                    ask, done = member.asks[0]
                    reply: Reply | Refused
                    try:
                        answer = self._answer(client, ask)
                        if answer is None:
                            break
                        reply = Reply(ask.step, *answer)
                        self._count("down", ask.call, reply.tensors)
                    except Diverged as error:
                        self._fail(error)
                        break
                    except WriteError as error:
                        self._halt(error)
                        break
                    except Exception as error:
                        reply = refused(error)
                    member.asks.popleft()
                    self._moved.add(client)
                    answers.append((done, reply))
                    progress = True
            # The last client to announce itself may be what one before it waits for.
            progress = progress or (self._round is not None and len(self._round.steps) > announced)
        if self.failed is not None:
            for client, member in self._members.here.items():
                if member.asks:
                    self._told.add(client)
                answers += [(done, self.failed) for _, done in member.asks]
                member.asks.clear()
        self._watch()
        self.busy_s += self._clock() - started

    def _answer(self, client: int, ask: Ask) -> Answer | None:
        """The answer to an ask; None if it has to wait."""
        if client in self._steps.ready:
            return self._steps.ready.pop(client)
        if ask.call is Call.OPEN:
            return {"round": self.rounds, "client": client}, {}
        if ask.call is Call.CLOSE:
            self._members.closed.add(client)
            return {}, {}
        number = whole(ask, "round")
        if ask.call is Call.CHECKPOINT:
            return self._checkpoint(client, number)
        if ask.call is Call.EVALUATE and not ask.tensors:
            return self._end(client, number)
        round = self._round
        if round is None or round.number < number:
            return None
        if round.number > number and self._plan.stragglers != "wait":
            # The others went on without this client, which comes back now.
            return {"part": False, "dropped": True}, {}
        if round.number > number:
            raise unmet(f"Round {number} is over; the training is in round {round.number}.")
        if ask.call is Call.EVALUATE:
            return self._evaluate(round, client, ask)
        if client in round.dropped:
            return {"part": False, "dropped": True}, {}
        if client in round.heads or (ask.call is not Call.TURN and client not in round.given):
            raise unmet(f"Client {client} is not in its turn in round {number}; ask for one first.")
        if ask.call is Call.TURN:
            return self._turn(round, client, ask)
        if ask.call is Call.STEP:
            return self._steps.step(round, client, ask)
        return self._steps.sum(round, client, ask) if "sum" in ask.parameters else self._deliver(round, client, ask)

    def _move(self) -> None:
        """Begin the next round, or end the training part of this one, if all that it needs is there."""
        round = self._round
        if round is not None and self._over(round) and not round.announced:
            round.announced = True
            self._on(Event("round", 0, round.number))
        if round is None or self._over(round):
            if self.rounds < self._plan.rounds and self._members.everybody <= self._members.here.keys():
                order = turns(self._plan, self.rounds + 1)
                present = [client for client in order if client not in self.gone] or order
                self._round = Round(self.rounds + 1, present)
                self.tails.begin_round()
            return
        # A client without which the round goes on may have been next in line.
        self._steps.work_off(round)
        if round.evaluators is None and round.trained:
            self._aggregate(round)

    def _over(self, round: Round) -> bool:
        """Whether a round is trained, measured and saved."""
        due = checkpoint_due(self._plan, round.number)
        return round.evaluators is not None and not round.measuring and (not due or self._saved_round >= round.number)

    def _awaited(self) -> set[int]:
        """The clients whose next ask the training cannot go on without."""
        round, members = self._round, self._members
        if round is None:
            return members.everybody - members.here.keys()
        if round.evaluators is not None:
            if round.measuring:
                return set(round.measuring)
            return members.everybody - self._at_checkpoint if not self._over(round) else set()
        row = self._plan.row
        if self._plan.secure_aggregation is not None and round.unready:
            return set(round.unready)
        if row.order == "turns":
            return set(round.late[:1])
        if row.tail == "one" and round.unready:
            return set(round.unready)
        if row.order == "together" and round.active:
            return {client for client in round.late if not members.here[client].asks}
        if row.tail == "one" and (client := round.next_in_line) is not None:
            return {client}
        return set(round.late)

    # What each ask does.

    def _turn(self, round: Round, client: int, ask: Ask) -> Answer | None:
        if client not in round.order:
            return {"part": False}, {}
        secure, row = self._plan.secure_aggregation is not None, self._plan.row
        if secure:
            round.keys.setdefault(client, masking.key(tensor(ask, "key")))
        round.steps.setdefault(client, whole(ask, "steps"))
        if secure and round.unready:
            return None
        if row.order == "turns" and round.late[0] != client:
            return None
        if row.order != "turns" and row.tail == "one" and round.unready:
            return None
        round.given.add(client)
        parameters: dict[str, Parameter] = {"part": True}
        if row.sync == "step":
            parameters["steps"] = max(round.steps.values())
        tensors: dict[str, Encoded] = {}
        if row.head != "own":
            tensors["weights"] = self._head(client)
            if self._optimizer:
                tensors["optimizer"] = packed(self._optimizer_of(client))
        if secure:
            weights = self._weights_of(round.order)
            parameters["share"] = weights[client] / sum(weights.values())
            tensors["keys"] = masking.roster(round.keys)
        return parameters, tensors

    def _head(self, client: int) -> Encoded:
        """The layers of a client, packed. Equal ones are in memory once, as every session keeps its last reply."""
        head, cut = packed(self.tails.head_weights(client)), self._plan.cut_of(client)
        if cut not in self._heads or self._heads[cut].data != head.data:
            self._heads[cut] = head
        return self._heads[cut]

    def _deliver(self, round: Round, client: int, ask: Ask) -> Answer:
        """Take what a client has at the end of its turn."""
        if (step := ask.parameters.get("diverged")) is not None:
            text = f"a gradient of its layers is not finite at client {client}, round {round.number}, step {step}"
            raise Diverged(text)
        if (name := ask.parameters.get("beyond")) is not None:
            raise Diverged(
                f"{shown(str(name)[:80])} of client {client} is not finite, or beyond the range of secure_aggregation, "
                f"which fewer bits widen, at the end of round {round.number}"
            )
        raised = alarms(ask)
        for detector, step, score, threshold in raised:
            what = {"detector": detector, "score": score, "threshold": threshold}
            self._on(Event("alarm", client, round.number, step, what))
        if "stopped" in ask.parameters:
            why = f": its detector {raised[0][0]} suspects this server" if raised else ""
            raise Left(f"Client {client} trains no more in round {round.number}{why}")
        taken = round.served.get(client, 0) + len(round.queued.get(client, ()))
        if taken != round.steps[client] and self._plan.row.tail != "none":
            raise unmet(
                f"Client {client} announced {round.steps[client]} steps in round {round.number} and has taken {taken}."
            )
        head: dict[str, Tensor] = {}
        if self._plan.row.head != "own":
            if "weights" not in ask.tensors:
                raise DecodeError("The weights of the head are missing.")
            head = unpacked(ask.tensors["weights"])
            expected = self.tails.head_weights(client)
            if self._plan.secure_aggregation is not None:
                expected = masking.forms(expected)
            if head.keys() != expected.keys():
                odd = sorted(head.keys() ^ expected.keys())
                raise DecodeError(f"The head of client {client} has other layers than at this server: {odd[0]!r:.80}.")
            for name, value in head.items():
                if (value.shape, value.dtype) != (expected[name].shape, expected[name].dtype):
                    raise DecodeError(
                        f"{name} of client {client} has the shape {tuple(value.shape)} in {value.dtype}; at this "
                        f"server it has {tuple(expected[name].shape)} in {expected[name].dtype}."
                    )
                if value.is_floating_point() and not are_finite([value]):
                    raise Diverged(f"{name} is not finite at client {client}, end of round {round.number}")
        optimizer = unpacked(ask.tensors["optimizer"]) if "optimizer" in ask.tensors else {}
        if self._plan.row.head == "handed":
            self.tails.take_over(head)
            self._optimizer = optimizer
        round.heads[client], round.optimizers[client] = head, optimizer
        costs = {name: ask.parameters[name] for name in ("busy_s", "rss_bytes") if name in ask.parameters}
        what = {"weights": head, "samples": self._members.here[client].samples, "steps": round.steps[client], **costs}
        self._on(Event("collected", client, round.number, taken, what))
        return {}, {}

    def _aggregate(self, round: Round) -> None:
        """End the training of a round: average what is averaged, and choose who measures the accuracy."""
        plan = self._plan
        weights, heads = self._weights_of(round.heads), round.heads
        if plan.secure_aggregation is not None and heads:
            mean = masking.mean(plan, heads, self.tails.head_weights(min(heads)))
            heads = dict.fromkeys(heads, mean)
        if weights and (plan.row.head == "averaged" or plan.row.tail == "copies"):
            self.tails.aggregate(heads, weights)
            if plan.optimizer_state == "average" and plan.row.head == "averaged":
                self._optimizer = averaged(round.optimizers, weights)
        self.rounds = round.number
        round.evaluators = []
        if evaluation_due(plan, round.number) and round.heads:
            # Where the models of the clients differ each measures its own, otherwise one of them that was there.
            differ = plan.row.head == "own" or plan.bn in ("local", "statistics-local")
            present = sorted(self._members.here.keys() - self.gone)
            round.evaluators = present if differ else [min(round.heads)]
        if self._on is not unheard:
            self._on(Event("averaged", 0, round.number, 0, {"weights": self.tails.weights()}))
        round.heads = {client: {} for client in round.heads}
        round.optimizers = {}

    def _end(self, client: int, number: int) -> Answer | None:
        """Tell a client that a round is over, and whether it measures the accuracy."""
        if self.rounds < number:
            # A client that was not chosen for the round may have become a substitute.
            taking = self._round is not None and self._round.number == number and client in self._round.unready
            return ({"again": True}, {}) if taking else None
        round = self._round
        if round is None or round.number != number or client not in round.measuring:
            return {"evaluate": False}, {}
        tensors = {}
        if self._plan.row.head != "own":
            tensors["weights"] = self._head(client)
        return {"evaluate": True}, tensors

    def _evaluate(self, round: Round, client: int, ask: Ask) -> Answer:
        """Count the correct answers to a batch of test data, or take the counts of a client with the last layers."""
        if client not in round.measuring:
            raise unmet(f"Client {client} does not measure round {round.number}.")
        tensors: dict[str, Encoded] = {}
        if "smashed" in ask.tensors:
            smashed = self._steps.smashed(client, ask)
            if self._plan.row.u_shaped:
                tensors["output"] = self._steps.output_coding.plain(self.tails.answer(client, smashed))
            else:
                labels = decoded_labels(tensor(ask, "labels"), len(smashed), self._classes)
                self._measured(round, client, self.tails.evaluate(client, smashed, labels, self._classes))
        else:
            correct = torch.from_numpy(as_array(tensor(ask, "correct"), "INT64").copy())
            total = torch.from_numpy(as_array(tensor(ask, "total"), "INT64").copy())
            if not correct.shape == total.shape == (self._classes,):
                raise DecodeError(f"Counts have shape ({self._classes},), one number for each class.")
            self._measured(round, client, Counts(correct, total, float(ask.parameters.get("loss", 0.0))))
        if ask.parameters.get("last"):
            round.ended.add(client)
            counts = round.measured[client]
            what = {"correct": counts.correct, "total": counts.total, "loss": counts.loss}
            self._on(Event("measured", client, round.number, 0, what))
        return {}, tensors

    def _checkpoint(self, client: int, number: int) -> Answer | None:
        """Hold the clients until all have written their checkpoints, and then the server its own."""
        if self._saved_round >= number:
            return {"saved": True}, {}
        round = self._round
        if round is None or round.number != number or round.evaluators is None or round.measuring:
            return None
        self._at_checkpoint.add(client)
        if self._members.everybody - self._at_checkpoint:
            return None
        try:
            if self._saved is not None:
                self._saved(number)
        except Exception as error:
            self._halt(error)
            return None
        self._saved_round = number
        self._at_checkpoint.clear()
        return {"saved": True}, {}

    def _weights_of(self, clients: Collection[int]) -> dict[int, float]:
        """How much each client counts in averages."""
        here = self._members.here
        return {c: float(here[c].samples) if self._plan.weighting == "samples" else 1.0 for c in clients}

    def _optimizer_of(self, client: int) -> dict[str, Tensor]:
        names = self.tails.head_weights(client).keys()
        return {key: value for key, value in self._optimizer.items() if key.rpartition("/")[0] in names}

    @staticmethod
    def _measured(round: Round, client: int, counts: Counts) -> None:
        before = round.measured.get(client)
        round.measured[client] = counts if before is None else before + counts

    def _count(self, way: str, call: Call, tensors: Mapping[str, Encoded]) -> None:
        for name, encoded in tensors.items():
            key = (way, call.name.lower(), name)
            self.traffic[key] = self.traffic.get(key, 0) + len(encoded.data)

    # What goes wrong.

    def _fail(self, error: Diverged) -> None:
        """End the training for everybody."""
        what = "{}." if isinstance(error, Left) else _DIVERGED
        self.failed = unmet(what.format(error))

    def _halt(self, error: Exception) -> None:
        """End the training for everybody, for the server itself has failed: its disk may be full."""
        log.error("the server cannot go on", exc_info=error)
        why = refused(error)
        self.failed = Refused(why.code, f"The server cannot go on: {why} What was kept before is kept; see --resume.")

    def _watch(self) -> None:
        """Note since when each client is awaited and silent, and wake up when that has been too long."""
        now, before = self._clock(), self._awaited_since
        self._awaited_since = {
            client: now if client in self._moved else before.get(client, now) for client in self._awaited() - self.gone
        }
        self._moved.clear()
        awaited = self._awaited_since
        if self._plan.stragglers == "wait" or self.failed is not None:
            return
        held = any(member.asks for client, member in self._members.here.items() if client not in awaited)
        if awaited and held:
            self._wake_up(min(awaited.values()) + self._plan.straggler_s, self.look)
        elif self._members.everybody - self._members.closed:
            self._wake_up(self._heard_s + ALL_GONE * self._plan.straggler_s, self.look_for_all)

    def _wake_up(self, at_s: float, look: Callable[[], None]) -> None:
        """Look then, or before: a timer for each ask would cost more than the ask, so that one is not put off."""
        if self._timer is not None:
            if self._timer.function == look and self._timer_s <= at_s:
                return
            self._timer.cancel()
        self._timer_s, self._timer = at_s, Timer(max(0.0, at_s - self._clock()), look)
        self._timer.daemon = True
        self._timer.start()

    def look_for_all(self) -> None:
        """Give all clients up when none has asked for long, though none is waited for."""
        with self._lock:
            if self._stopped:
                return
            self._timer, silent_s = None, self._clock() - self._heard_s
            if silent_s < ALL_GONE * self._plan.straggler_s:
                self._watch()
                return
            log.warning("No client has asked for %.0f s; none is waited for any more.", silent_s)
            self._members.gone |= self._members.everybody - self._members.closed

    def look(self) -> None:
        """Go on without clients that the others have waited for too long, or with others in their place."""
        answers: list[tuple[Done, Reply | Refused]] = []
        with self._lock:
            if self._stopped or self._plan.stragglers == "wait":
                return
            self._timer = None
            silent_since = self._clock() - self._plan.straggler_s
            awaited = {client for client, since in self._awaited_since.items() if since <= silent_since}
            if not awaited:
                self._watch()
                return
            self._members.gone |= awaited
            round = self._round
            if round is not None and round.evaluators is None:
                late = [client for client in round.order if client in awaited]
                round.dropped.update(late)
                round.order = [client for client in round.order if client not in late]
                for client in late:
                    round.queued.pop(client, None)
                    self._steps.forget(client)
                if self._plan.stragglers == "replace":
                    round.order += self._substitutes(round, len(late))
            elif round is not None:
                round.ended |= awaited
            what = f"Round {round.number} goes on" if round is not None else "The training begins"
            log.warning("%s without %s.", what, _clients(awaited))
            self._serve(answers)
        for answer, reply in answers:
            answer(reply)

    def _substitutes(self, round: Round, n: int) -> list[int]:
        """Clients that were not chosen for a round, in an order drawn for it."""
        free = sorted(self._members.here.keys() - self.gone - round.dropped - set(round.order))
        drawn = generator(self._plan.seed, Role.SAMPLING, round=round.number, step=1).permutation(free)
        return [int(client) for client in drawn[:n]]


def _clients(numbers: Collection[int]) -> str:
    """The numbers of clients in words, ten of them at most."""
    listed = ", ".join(map(str, sorted(numbers)[:10]))
    more = f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
    return f"client{'s' if len(numbers) > 1 else ''} {listed}{more}"


def _parted(tensors: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors whose name has no such prefix, and those with it, without it."""
    rest = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
    return rest, {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
