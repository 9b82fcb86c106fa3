"""Soteria: parts of the gradient of one fully connected layer are left out, those that would tell most of the sample.

J. Sun, A. Li, B. Wang, H. Yang, H. Li, Y. Chen, "Soteria: Provable Defense Against Privacy Leakage in Federated
Learning From Representation Perspective", CVPR 2021 (github.com/jeremy313/Soteria). With r the inputs of a fully
connected layer, and x the sample, the columns of the layer's gradient with the smallest ``|dr_i/dx| / |r_i|`` are set
to zero, 1 % of them against DLG and up to 80 % against Inverting Gradients.

Differs from the paper: the magnitude of r_i is taken, where the authors' code divides by r_i itself and takes the
magnitude of the sum over samples; the sum is over at most `samples` samples, drawn anew each time.

Threat model: the aggregator of the updates; columns of zeros tell it what is missing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.updates.base import Local, Twin, Update
from cutlayer.defenses.updates.masked import Masked, masking
from cutlayer.errors import ConfigError
from cutlayer.options import Count, Share

if TYPE_CHECKING:
    from torch import Tensor, nn

_AT_ONCE = 128
"""Derivatives that are computed at once; more take more memory."""


@dataclass(kw_only=True)
class Soteria(Masked):
    """Send zeros in place of the columns of a fully connected layer's gradient that tell most of the sample.

    Args:
        rate: Share of the layer's inputs whose columns are left out, rounded down.
        layer: Name of the layer in the model; empty for the last fully connected one that the update has.
        samples: The greatest number of samples that the choice is computed from.
    """

    knob = "rate"
    plain_words = "leaves out what one layer's gradient tells most of a sample"

    rate: Share = 0.8
    layer: str = ""
    samples: Count = 64

    def masks(self, update: Update, rng: np.random.Generator, local: Local | None) -> Update:
        """See the base."""
        local = self.needed(local)
        name = self._name(update, local.model)
        chosen = rng.permutation(len(local.inputs))[: self.samples]
        scores = sensitivity(local.model, name, local.inputs[chosen])
        mask = np.ones(len(scores), np.float32)
        mask[np.argsort(scores, kind="stable")[: int(self.rate * len(scores))]] = 0
        weight = update[f"{name}.weight"]
        xp = array_namespace(weight)
        return {f"{name}.weight": xp.zeros_like(weight) + xp.asarray(mask, device=weight.device)}

    def twin(self, sent: Mapping[str, Tensor], rng: np.random.Generator) -> Twin | None:
        """See the base; only the defended layer is masked where it can be told from the others."""
        masked = {name: value for name, value in sent.items() if value.dim() == 2 and bool((value == 0).all(0).any())}
        return masking(masked) if self.on else None

    def _name(self, update: Update, model: nn.Module) -> str:
        from torch import nn

        found = [
            name for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and f"{name}.weight" in update
        ]
        if self.layer and self.layer not in found:
            raise ConfigError(
                f"{self!r}: the update has no fully connected layer {self.layer!r:.80}; it has {', '.join(found) or 0}."
            )
        if not found:
            raise ConfigError(
                "soteria changes the gradient of a fully connected layer, and the update has none; cut the model "
                "behind one, or name another defense."
            )
        return self.layer or found[-1]


def sensitivity(model: nn.Module, layer: str, inputs: Tensor) -> NDArray[np.float64]:
    """How much each input of a layer tells of the samples: ``|dr_i/dx| / |r_i|``, summed over the samples.

    Args:
        model: The model; it is run in evaluation mode, and stays as it is.
        layer: Name of a fully connected layer with R inputs.
        inputs: ``(B, *input.shape)``.

    Returns:
        ``(R,)`` float64.
    """
    import torch

    own, seen = copy.deepcopy(model).eval(), []
    own.get_submodule(layer).register_forward_pre_hook(lambda layer, given: seen.append(given[0].flatten(1)))
    with torch.no_grad():
        own(inputs)
    sizes = seen.pop().abs().T.double().clamp(min=1e-10)
    lengths = torch.zeros_like(sizes)
    for b, one in enumerate(inputs.detach()):
        for units in torch.arange(len(sizes), device=inputs.device).split(_AT_ONCE):
            # Each derivative has a copy of the sample to itself: several times as fast as one pass back after another.
            copies = one.expand(len(units), *one.shape).clone().requires_grad_()
            own(copies)
            chosen = seen.pop().gather(1, units[:, None])
            (found,) = torch.autograd.grad(chosen.sum(), copies)
            lengths[units, b] = found.flatten(1).norm(dim=1).double()
    return np.asarray((lengths / sizes).sum(1).cpu())
