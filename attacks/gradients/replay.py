"""What a client would have sent for samples that an attacker supposes: a function that can be differentiated.

Everything goes through `torch.func`, so that many supposed batches are computed at once, each with its own update.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, replace_all_batch_norm_modules_

from cutlayer.attacks.gradients.language import Given, table_of
from cutlayer.attacks.gradients.view import Observation
from cutlayer.nets.norms import Norms
from cutlayer.training import loss_of

Mixed = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""What a client makes of its samples and labels before it computes; see `UpdateDefense.augment_twin`."""


class Replay:
    """The update of one client as a function of its samples.

    Args:
        observation: An update, of which the model and the settings of the client are used.
        device: Where to compute.
        simulate: Whether the local steps are repeated, and a change of weights comes out; else the gradient of all
            samples together does.
        masks: Whether the masks of dropout are arguments of the function; otherwise dropout is left out.
        mixed: What the client makes of its samples.
        embedded: Whether the samples are rows of numbers in place of the ids of tokens, so that the gradient of the
            table of tokens is left out.
    """

    def __init__(
        self,
        observation: Observation,
        device: torch.device,
        *,
        simulate: bool = False,
        masks: bool = False,
        mixed: Mixed | None = None,
        embedded: bool = False,
    ) -> None:
        model = copy.deepcopy(observation.model).to(device).train(not observation.eval_mode)
        self._table = table_of(model, "matching")[0] if embedded else ""
        if self._table:
            model.set_submodule(self._table, Given())
        self._steps = observation.local_steps if simulate else 0
        self._batch, self._lr, self._mixed = observation.batch, observation.lr, mixed
        self._kept = copy.deepcopy(model).eval().requires_grad_(False)
        self._norms = Norms(self._kept)
        if not observation.eval_mode:
            # The statistics of the batch, without running ones, which a function does not change.
            replace_all_batch_norm_modules_(model)
        self.dropouts = _masked(model) if masks and not observation.eval_mode else {}
        for module in model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.eval()
        self._loss = _Loss(model)
        named = dict(self._loss.named_parameters())
        self._weights = {name: p.detach() for name, p in named.items() if p.requires_grad}
        self._fixed = {name: p.detach() for name, p in named.items() if not p.requires_grad}
        self._fixed |= {name: value.detach() for name, value in self._loss.named_buffers()}

    @property
    def names(self) -> list[str]:
        """Names of the parameters that the update has, in the order of the model."""
        return [name.removeprefix(_Loss.PREFIX) for name in self._weights]

    def __call__(self, inputs: Tensor, labels: Tensor, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The update for ``(B, *input.shape)`` and ``(B, classes)`` shares of each class, by name of the parameter.

        Args:
            inputs: Samples.
            labels: Labels.
            masks: For each of `dropouts` ``(B, *shape)``: what is multiplied by in its place, in [0, 1].
        """
        if self._mixed is not None:
            inputs, labels = self._mixed(inputs, labels)
        weights = self._weights
        if not self._steps:
            found = self._gradient(weights, inputs, labels, masks)
            return {name.removeprefix(_Loss.PREFIX): value for name, value in found.items()}
        size, taken = self._batch or len(inputs), 0
        for _ in range(self._steps):
            index = (torch.arange(size, device=inputs.device) + taken) % len(inputs)
            taken += size
            chosen = {name: mask[index] for name, mask in masks.items()}
            found = self._gradient(weights, inputs[index], labels[index], chosen)
            weights = {name: w - self._lr * found[name] for name, w in weights.items()}
        return {name.removeprefix(_Loss.PREFIX): w - self._weights[name] for name, w in weights.items()}

    def dropout_shapes(self, inputs: Tensor) -> dict[str, tuple[tuple[int, ...], float]]:
        """What each of `dropouts` gets for one sample, and its rate, found with samples ``(B, *input.shape)``."""
        shapes: dict[str, tuple[tuple[int, ...], float]] = {}
        hooks = [
            self._loss.model.get_submodule(name).register_forward_pre_hook(
                lambda _, args, name=name, rate=rate: shapes.update({name: (tuple(args[0].shape[1:]), rate)})
            )
            for name, rate in self.dropouts.items()
        ]
        with torch.no_grad():
            self._loss.model(inputs)
        for hook in hooks:
            hook.remove()
        return shapes

    def statistics(self, inputs: Tensor, first: float) -> Tensor:
        """How far the statistics of a batch are from those that batch normalization has kept; 0 without any."""
        if not self._norms.layers:
            return inputs.new_zeros(())
        with self._norms:
            self._kept(inputs)
            return self._norms.gap(first)

    def _gradient(
        self, weights: dict[str, Tensor], inputs: Tensor, labels: Tensor, masks: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        others = self._fixed | {f"{_Loss.PREFIX}{name}.mask": mask for name, mask in masks.items()}
        if self._table:
            others[f"{_Loss.PREFIX}{self._table}.rows"] = inputs
            inputs = inputs.ne(0).any(-1).long()  # any id but that of no token

        def of(weights: dict[str, Tensor]) -> Tensor:
            value: Tensor = functional_call(self._loss, (weights, others), (inputs, labels))
            return value

        found: dict[str, Tensor] = grad(of)(weights)
        return found


class _Loss(nn.Module):
    """The loss of a model as a module, so that its parameters can be replaced whatever the model's loss calls."""

    PREFIX = "model."

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return loss_of(self.model, inputs, labels)


class _Mask(nn.Module):
    """Dropout whose mask is given."""

    mask: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("mask", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask / (1 - self.rate)


def _masked(model: nn.Module) -> dict[str, float]:
    """Replace each dropout of a model by a mask; the rates by name."""
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p}
    for name, rate in rates.items():
        model.set_submodule(name, _Mask(rate))
    return rates
