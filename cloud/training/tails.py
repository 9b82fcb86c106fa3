"""What the server holds of the model: one tail or a copy for each client, and the values of all heads between turns."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.errors import DecodeError
from cutlayer.protocols.averaging import averaged, shared_names
from cutlayer.protocols.counts import Counts, counted
from cutlayer.protocols.cutting import Pieces, pieces
from cutlayer.protocols.draws import computed
from cutlayer.protocols.party import Party, are_finite, copy_into
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.spec import TensorSpec


class Batch(NamedTuple):
    """What one client sends for a step.

    Attributes:
        client: The client.
        smashed: ``(B, *smashed.shape)``.
        labels: ``(B,)`` int64.
    """

    client: int
    smashed: Tensor
    labels: Tensor


class Diverged(Exception):
    """A value that the training computed is no finite number; the text says which one, and in whose step."""


class Left(Diverged):
    """A client trains no more, of its own will, and the training ends for everybody."""


class Tails:
    """The server's layers, and the last values of the layers of the clients that are averaged or handed on.

    One tail belongs to the whole model, so that clients may cut it at different layers. A copy is made when its client
    takes its first step, and equals the averaged model then.

    Args:
        plan: The plan.
        model: The whole model as it is before training; it becomes the server's.
        input: One input of the model.
        classes: Number of classes.
    """

    def __init__(self, plan: TrainingPlan, model: nn.Module, input: TensorSpec, classes: int) -> None:
        self._plan = plan
        clients = range(1, plan.clients + 1)
        self._by_cut = {
            cut: pieces(plan, client, model, input, classes)
            for cut, client in {plan.cut_of(client): client for client in clients}.items()
        }
        self._values: dict[str, Tensor] = {}
        for cut in self._by_cut.values():
            for module in (*cut.at_client, *([cut.tail] if cut.tail else [])):
                self._values.update(module.state_dict())
        self._one: Party | None = None
        self._copies: dict[int, tuple[nn.Module, Party]] = {}
        self._open: dict[int, tuple[Tensor, Tensor]] = {}
        if plan.row.tail == "one":
            # The layers behind the first cut; a shorter tail is a part of them.
            tails = [cut.tail for cut in self._by_cut.values() if cut.tail is not None]
            self._one = Party([max(tails, key=lambda tail: len(tail.state_dict()))], plan.optimizer)
            for tail in tails:
                tail.train()

    def pieces(self, client: int) -> Pieces:
        """The pieces of the model at the cut of a client."""
        return self._by_cut[self._plan.cut_of(client)]

    def head_weights(self, client: int) -> dict[str, Tensor]:
        """The last averaged or handed-on values of the layers of a client, by name."""
        names = set().union(*(shared_names(part, self._plan.bn) for part in self.pieces(client).at_client))
        return {name: value for name, value in self._values.items() if name in names}

    def take_over(self, head: Mapping[str, Tensor]) -> None:
        """Keep a head that is handed on. Raises SplitError."""
        copy_into(self._values, head)

    def begin_round(self) -> None:
        """Forget what the optimisers remember, if the plan says so."""
        if self._plan.optimizer_state == "reset":
            for party in self._parties().values():
                party.reset()

    def step(self, batches: Sequence[Batch], round: int, step: int) -> tuple[float, list[Tensor]]:
        """Train the tail by one step on the union of batches; return the loss and the gradient at each cut.

        The loss is the mean over the union, so that each gradient carries the share of its batch.

        Raises:
            Diverged: The loss or a gradient is not finite; nothing was changed.
        """
        among = sum(len(batch.labels) for batch in batches)
        total, gradients = 0.0, dict[int, Tensor]()
        for cut in dict.fromkeys(self._plan.cut_of(batch.client) for batch in batches):
            # Smashed data of different cuts pass through different layers.
            alike = [batch for batch in batches if self._plan.cut_of(batch.client) == cut]
            loss, parts = self.backward(alike, round, step, among)
            total += loss
            gradients.update(zip((batch.client for batch in alike), parts, strict=True))
        self.apply(batches[0].client)
        return total, [gradients[batch.client] for batch in batches]

    def backward(
        self, batches: Sequence[Batch], round: int, step: int, among: int, piece: int = 0
    ) -> tuple[float, list[Tensor]]:
        """Add the gradients of the loss, divided by the number `among` of samples, to those of the tail.

        `piece` is that of a batch that is sent in pieces.

        Raises:
            Diverged: See `step`.
        """
        clients = [batch.client for batch in batches]
        client = clients[0]
        module, party = self._tail(client)
        leaf = batches[0].smashed if len(batches) == 1 else torch.cat([batch.smashed for batch in batches])
        leaf.requires_grad_()
        labels = batches[0].labels if len(batches) == 1 else torch.cat([batch.labels for batch in batches])
        counter = step * self._plan.micro_batches + piece
        logits = computed(module, leaf, self._plan.seed, client if len(batches) == 1 else 0, round, counter)
        loss = functional.cross_entropy(logits, labels, reduction="mean" if len(labels) == among else "sum")
        if len(labels) != among:
            loss = loss / among
        loss.backward()
        value = loss.item()
        gradient = leaf.grad
        assert gradient is not None
        if value != value or value in (float("inf"), float("-inf")):
            raise self._diverged(party, f"the loss is {value}", clients, round, step)
        if not are_finite([gradient, *party.gradients().values()]):
            raise self._diverged(party, "a gradient of the server's layers is not finite", clients, round, step)
        return value, list(gradient.split([len(batch.labels) for batch in batches]))

    def forward(self, client: int, smashed: Tensor, round: int, step: int) -> Tensor:
        """Compute the body of a U-shaped model; `backward_body` follows. Returns what the client's end takes."""
        module, _ = self._tail(client)
        smashed.requires_grad_()
        output = computed(module, smashed, self._plan.seed, client, round, step)
        self._open[client] = (smashed, output)
        return output.detach()

    def backward_body(self, client: int, gradient: Tensor, round: int, step: int) -> Tensor:
        """Train the body with the gradient at its output; return that at its input.

        Raises:
            Diverged: A gradient is not finite; nothing was changed.
            DecodeError: No forward pass of this client is open, or the gradient has another shape.
        """
        smashed, output = self._open.pop(client, (None, None))
        if smashed is None or output is None:
            raise DecodeError("A gradient arrived for which there was no forward pass; send the smashed data first.")
        if gradient.shape != output.shape:
            raise DecodeError(f"The gradient has shape {tuple(gradient.shape)}, and must have {tuple(output.shape)}.")
        _, party = self._tail(client)
        if not are_finite([gradient]):
            raise self._diverged(party, "the gradient from the client is not finite", [client], round, step)
        output.backward(gradient)
        cut = smashed.grad
        assert cut is not None
        if not (are_finite([cut]) and party.finite()):
            raise self._diverged(party, "a gradient of the server's layers is not finite", [client], round, step)
        party.step()
        return cut

    def apply(self, client: int) -> None:
        """Apply the gradients of the tail of a client."""
        self._tail(client)[1].step()

    def evaluate(self, client: int, smashed: Tensor, labels: Tensor, classes: int) -> Counts:
        """Count the correct answers of the tail of a client, in eval mode."""
        logits = self.answer(client, smashed)
        return counted(logits, labels, classes)

    def answer(self, client: int, smashed: Tensor) -> Tensor:
        """What the layers of the server give in eval mode."""
        module, _ = self._tail(client)
        module.eval()
        with torch.no_grad():
            output: Tensor = module(smashed)
        module.train()
        return output

    def aggregate(self, heads: Mapping[int, Mapping[str, Tensor]], weights: Mapping[int, float]) -> None:
        """Average the heads, and the copies of the tail if there are, over the clients of a round.

        A layer that some clients have and others left to the server is averaged over both: the server's value counts
        with the weights of the latter.

        Args:
            heads: The weights of the head of each client; empty where heads are not averaged.
            weights: The weight of each client.
        """
        held = {name for head in heads.values() for name in head}
        states: dict[int, dict[str, Tensor]] = {}
        for client, head in heads.items():
            if self._plan.row.tail == "copies":
                module, party = self._tail(client)
                shared = shared_names(module, self._plan.bn)
                left = {name: value for name, value in party.weights().items() if name in shared}
            else:
                left = {name: self._values[name] for name in held}
            states[client] = {**left, **head}
        copy_into(self._values, averaged(states, weights))
        for module, party in self._copies.values():
            shared = shared_names(module, self._plan.bn)
            party.load({name: value for name, value in self._values.items() if name in shared})
        if self._plan.optimizer_state == "average" and self._copies:
            states = {client: self._copies[client][1].optimizer_state() for client in heads}
            mean = averaged(states, weights)
            for _, party in self._copies.values():
                party.load_optimizer(
                    {key: value for key, value in mean.items() if key.rpartition("/")[0] in party.parameters}
                )

    def weights(self) -> dict[str, Tensor]:
        """Copies of the values of the whole model, as far as the server knows them."""
        return {name: value.detach().clone() for name, value in self._values.items()}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What a checkpoint needs: weights and optimiser states, each name with the client of its copy before it."""
        weights = {f"0/{name}": value for name, value in self.weights().items()}
        optimizers: dict[str, Tensor] = {}
        for client, party in self._parties().items():
            if client:
                weights.update({f"{client}/{name}": value for name, value in party.weights().items()})
            optimizers.update({f"{client}/{name}": value for name, value in party.optimizer_state().items()})
        return weights, optimizers

    def load(self, weights: Mapping[str, Tensor], optimizers: Mapping[str, Tensor]) -> None:
        """Undo `state`. Raises SplitError."""
        by_client = _by_client(weights)
        copy_into(self._values, by_client.pop(0, {}))
        for client, values in by_client.items():
            self._tail(client)[1].load(values)
        states = _by_client(optimizers)
        for client, party in self._parties().items():
            party.load_optimizer(states.get(client, {}))

    def _parties(self) -> dict[int, Party]:
        """The parties of the server by client; 0 is the one tail."""
        copies = {client: party for client, (_, party) in self._copies.items()}
        return {0: self._one, **copies} if self._one else copies

    def _tail(self, client: int) -> tuple[nn.Module, Party]:
        """The layers of the server for a client, and the party that trains them."""
        tail = self.pieces(client).tail
        assert tail is not None
        if self._one is not None:
            return tail, self._one
        if client not in self._copies:
            module = copy.deepcopy(tail)
            self._copies[client] = (module, Party([module], self._plan.optimizer))
        return self._copies[client]

    @staticmethod
    def _diverged(party: Party, text: str, clients: Sequence[int], round: int, step: int) -> Diverged:
        party.clear()
        return Diverged(f"{text} at {named(clients)}, round {round}, step {step}")


def named(clients: Sequence[int]) -> str:
    """The clients in words."""
    return f"client{'s' if len(clients) > 1 else ''} {', '.join(map(str, clients))}"


def _by_client(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    result: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        client, _, name = key.partition("/")
        result.setdefault(int(client), {})[name] = value
    return result
