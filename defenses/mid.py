"""MID: a variational information bottleneck at the cut.

T. Wang, Y. Zhang, R. Jia, "Improving Robustness to Model Inversion Attacks via Mutual Information Regularization", AAAI
2021, https://arxiv.org/abs/2009.05241. The head gives mean and deviation of a normal distribution, the device sends a
sample of it, and training bounds what a sample can say:

    min over head and tail of  CE(tail(z), y) + beta * KL(N(mean(x), std(x)^2) || N(0, I)),   z ~ N(mean(x), std(x)^2)

with ``std = softplus(s - 5)`` as in github.com/AlanPeng0897/Defend_MI @207116e. KL is a sum over all elements, in nats,
and its mean over inputs is no less than the mutual information of input and release (Alemi et al., ICLR 2017).

Threat model: an honest-but-curious server that knows the defense and may see several releases of one input: the mean of
k of them is ``mean(x)`` with the deviation divided by ``sqrt(k)``, and what they say is bounded by k times KL only.

Differs from the paper:
    - The bottleneck stands at the cut, there before the last layer of a classifier whose training data are attacked.
    - A 1x1 convolution gives mean and deviation, where a fully connected layer would take far too many weights.
    - Training starts from the trained model, with its smashed data as mean and a deviation of ln 2, and is short
      (`epochs`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.defenses.shared.aware import snr_db
from cutlayer.defenses.shared.density import Density
from cutlayer.defenses.shared.draws import normal
from cutlayer.errors import ConfigError, SplitError
from cutlayer.options import Epochs, Weight
from cutlayer.spec import TensorSpec

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel


@dataclass(kw_only=True)
class Mid(Defense):
    """Send a sample of a normal distribution that training draws towards the standard one.

    The head gives ``(N, 2 C, H, W)``; what arrives is ``(N, C, H, W)``.

    Args:
        beta: Weight of KL, in nats over all elements, beside the cross-entropy.
        epochs: Passes over the training part.
    """

    knob = "beta"
    draws = True
    kinds = ("image",)
    why_only = "it is a convolution over the rows and columns of smashed data"

    beta: Weight = 1e-3  # the code's sweep begins at 0.001
    epochs: Epochs = 4

    def __post_init__(self) -> None:
        if min(self.beta, self.epochs) < 0:
            raise ConfigError(f"{self!r}: beta and epochs must be 0 or more.")

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.beta else 0

    def surgery(self, split: SplitModel) -> SplitModel:
        """A 1x1 convolution at the end of the head, which passes the smashed data on as the mean until it is trained.

        Raises:
            SplitError: The smashed data has no channels, rows and columns.
        """
        if self.beta == 0:
            return split
        import torch
        from torch import nn

        from cutlayer.models.halves import graft

        if len(split.smashed.shape) != 3:
            raise SplitError(f"mid needs smashed data (C, H, W), not {split.smashed}; cut elsewhere.")
        channels = split.smashed.shape[0]
        bottleneck = nn.utils.skip_init(nn.Conv2d, channels, 2 * channels, 1)  # draws from no generator
        with torch.no_grad():
            bottleneck.weight.copy_(torch.eye(2 * channels, channels)[..., None, None])
            # A deviation of ln 2: from the code's softplus(-5) a short training does not get near 1.
            bottleneck.bias.copy_(torch.tensor([0.0, 5.0]).repeat_interleave(channels))
        # The sample arrives: it has the shape that the tail took before, and no bounds.
        sample = TensorSpec(split.smashed.shape, split.smashed.dtype)
        return replace(graft(split, "bottleneck", to_head=bottleneck), smashed=sample)

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Train copies of both halves with samples between them; at beta 0 return the split itself."""
        if self.beta == 0:
            return split
        from torch.nn.functional import cross_entropy

        from cutlayer.training import optimize

        hardened = self.surgery(split)

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            parameters = hardened.head(images).float()
            logits = hardened.tail(self.protect(parameters, rng)).float()
            total: Tensor = cross_entropy(logits, labels) + self.penalty(images, parameters)
            return total

        optimize([hardened.head, hardened.tail], data.train, loss, epochs=self.epochs, seed=seed)
        return hardened

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """The bound on the mutual information of input and one release in bits, and the signal-to-noise ratio in dB."""
        if self.beta == 0:
            return {}
        mean, std = distribution(smashed)
        bits = float(divergence(mean, std)) / log(2)
        return {"bits_at_most": bits} | snr_db(mean, float(np.mean(std**2)))

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Draw a sample: ``(N, 2 C, H, W)`` -> ``(N, C, H, W)``; at beta 0 return the input itself."""
        if self.beta == 0:
            return smashed
        mean, std = distribution(smashed)
        return mean + std * array_namespace(smashed).astype(normal(mean, rng), mean.dtype)

    def penalty(self, inputs: Any, smashed: Any) -> Any:
        """The weighted KL, where a device trains its head with a server."""
        return self.beta * divergence(*distribution(smashed)) if self.beta else None

    def density(self, smashed: Any) -> Density | None:
        """The normal distribution that the head gives, with a deviation of each element of each input."""
        return Density("gaussian", *distribution(smashed)) if self.random else None


def distribution(parameters: Any) -> tuple[Any, Any]:
    """Mean and standard deviation, ``(N, C, H, W)`` each, from what the head gives, ``(N, 2 C, H, W)``."""
    xp = array_namespace(parameters)
    channels = parameters.shape[1] // 2
    mean, s = parameters[:, :channels], parameters[:, channels:]
    return mean, xp.logaddexp(s - 5, xp.zeros_like(s))


def divergence(mean: Any, std: Any) -> Any:
    """KL of the distribution from the standard normal one, in nats, summed over elements, averaged over samples."""
    xp = array_namespace(mean)
    return xp.sum(mean**2 + std**2 - 1 - 2 * xp.log(std)) / (2 * mean.shape[0])
