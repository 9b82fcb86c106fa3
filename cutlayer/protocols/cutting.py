"""A model cut for training: what the clients hold, and what the server holds."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError
from cutlayer.models.halves import split
from cutlayer.protocols.draws import Role, drawing
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.registry import defense_from
from cutlayer.spec import TensorSpec


@dataclass(frozen=True)
class Pieces:
    """The pieces of one model, which share its parameters under its names.

    Attributes:
        head: The client's first layers, or its whole model where the server has no tail.
        tail: The server's layers: the tail, or the body of a U-shaped plan. None where it has none.
        end: The client's last layers in a U-shaped plan, otherwise None.
        auxiliary: The client's classifier of smashed data in a plan with a local loss, otherwise None.
        smashed: What one sample becomes at the cut; None without a tail.
    """

    head: nn.Module
    tail: nn.Module | None = None
    end: nn.Module | None = None
    auxiliary: nn.Module | None = None
    smashed: TensorSpec | None = None

    @property
    def at_client(self) -> list[nn.Module]:
        """The pieces of the client."""
        return [piece for piece in (self.head, self.end, self.auxiliary) if piece is not None]


def pieces(plan: TrainingPlan, client: int, model: nn.Module, input: TensorSpec, classes: int) -> Pieces:
    """The pieces of a model for one client, at the cut of that client.

    Raises:
        SplitError: The model has no such cut.
        ConfigError: The defense of the plan needs another structure.
    """
    if plan.row.tail == "none":
        return Pieces(model)
    halves = split(model, plan.cut_of(client), input)
    defense = defense_from({"name": plan.defense.name, **plan.defense.options})
    # A defense that adds to the loss trains its own layers along; their first values draw from no generator.
    untrained = [part for part in defense.parts if type(part).penalty is Defense.penalty]
    if any(part.surgery(halves) is not halves for part in untrained):
        raise ConfigError(
            f"{plan.defense.name} with these options changes the layers at the cut, which is done before a training; "
            "leave out the options that do so, or name another defense."
        )
    halves = defense.surgery(halves)
    if plan.row.feedback == "local-loss":
        auxiliary = Auxiliary(halves.cut, halves.smashed, classes, plan.seed)
        return Pieces(halves.head, halves.tail, auxiliary=auxiliary, smashed=halves.smashed)
    if not plan.row.u_shaped:
        return Pieces(halves.head, halves.tail, smashed=halves.smashed)
    rest = split(halves.tail, plan.end, halves.smashed)
    return Pieces(halves.head, rest.head, rest.tail, smashed=halves.smashed)


class Auxiliary(nn.Module):
    """A classifier of smashed data: the mean of each channel, and one linear layer.

    Its layer is named after the cut, so that only clients with the same cut average it.

    Args:
        cut: Name of the cut.
        smashed: One sample of smashed data.
        classes: Number of classes.
        seed: Seed of the plan; all parties begin with the same values.
    """

    def __init__(self, cut: str, smashed: TensorSpec, classes: int, seed: int) -> None:
        super().__init__()
        with drawing(seed, Role.MODEL, step=1):
            layer = nn.Linear(smashed.shape[0], classes)
        self._name = f"auxiliary-{cut.replace('.', '-')}"
        self.add_module(self._name, layer)

    def forward(self, smashed: Tensor) -> Tensor:
        """``(N, C, ...)`` to logits ``(N, classes)``."""
        means = smashed if smashed.dim() == 2 else smashed.flatten(2).mean(2)
        logits: Tensor = getattr(self, self._name)(means)
        return logits
