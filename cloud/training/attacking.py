"""A server that attacks its clients while it trains with them: a hook of the real service, for tests and measurements.

    Coordinator(plan, model, input, classes, tails=attacking(system("fsha"), auxiliary))

Everything else is the honest server's: its messages, its order of service, its averages. Where the attack is active the
clients get its gradient in place of that of the task, and the tail goes on learning from what arrives, so that the loss
that clients see still falls.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cutlayer.attacks.training.view import TrainingAttack, TrainingView
from cutlayer.cloud.training.tails import Batch, Tails
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError
from cutlayer.protocols.plan import TrainingPlan
from cutlayer.spec import TensorSpec


class AttackingTails(Tails):
    """The tails of a server that attacks; see `Tails`.

    Args:
        plan: The plan.
        model: The whole model as it is before training.
        input: One input of the model.
        classes: Number of classes.
        attack: The attack, which has not begun.
        auxiliary: The attacker's own labelled inputs.

    Raises:
        ConfigError: The clients cut at different layers, or the labels stay with them.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        model: nn.Module,
        input: TensorSpec,
        classes: int,
        *,
        attack: TrainingAttack,
        auxiliary: Dataset,
    ) -> None:
        super().__init__(plan, model, input, classes)
        pieces = self.pieces(1)
        if pieces.smashed is None or plan.row.u_shaped or len(set(plan.cuts)) > 1:
            raise ConfigError(
                "A server attacks a training in which all clients cut at one layer and send their labels."
            )
        self.attack = attack
        new = drawn_anew(pieces.head)
        attack.begin(TrainingView(input, pieces.smashed, classes, auxiliary, plan.seed, torch.device("cpu"), new))

    def backward(
        self, batches: Sequence[Batch], round: int, step: int, among: int, piece: int = 0
    ) -> tuple[float, list[Tensor]]:
        """See the base; with the attack's gradients where it has any."""
        module, _ = self._tail(batches[0].client)
        forged = [self.attack.step(batch.smashed.detach(), batch.labels, module) for batch in batches]
        loss, honest = super().backward(batches, round, step, among, piece)
        pairs = zip(batches, honest, forged, strict=True)
        return loss, [right if wrong is None else wrong * (len(batch.labels) / among) for batch, right, wrong in pairs]


def attacking(
    attack: TrainingAttack, auxiliary: Dataset
) -> Callable[[TrainingPlan, nn.Module, TensorSpec, int], AttackingTails]:
    """What a `Coordinator` takes as its `tails` to attack its clients."""

    def made(plan: TrainingPlan, model: nn.Module, input: TensorSpec, classes: int) -> AttackingTails:
        return AttackingTails(plan, model, input, classes, attack=attack, auxiliary=auxiliary)

    return made


def drawn_anew(head: nn.Module) -> Callable[[], nn.Module]:
    """Builds heads of this architecture with weights from torch's global generator."""

    def build() -> nn.Module:
        fresh = copy.deepcopy(head)
        for module in fresh.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        return fresh

    return build
