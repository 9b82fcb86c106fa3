"""Shredder: a collection of noise tensors, learned so that the model as it is stays accurate behind them.

F. Mireshghallah, M. Taram, P. Ramrakhyani, A. Jalali, D. Tullsen, H. Esmaeilzadeh, "Shredder: Learning Noise
Distributions to Protect Inference Privacy", ASPLOS 2020, https://arxiv.org/abs/1905.11814. Each tensor n of the
collection starts as Laplace(0, scale) noise and minimizes, all weights frozen,

    cross-entropy(tail(head(x) + n)) - weight * mean |n|

What a tensor becomes is the order of its elements and the Laplace distribution that fits them. A release draws a
member of the collection, then as many fresh numbers from its distribution, and puts them in its order.

Threat model: an honest-but-curious server that knows the collection. Fresh numbers in a fixed order differ little from
draw to draw, so what it must undo is close to one of `n_noises` constant offsets: it can guess the member and subtract.

Differs from the paper:
    - The tensors learn side by side in one training, each image behind a member drawn for it, not in about 1,000
      trainings of which those with good accuracy are kept.
    - The term that keeps noise large is a mean over elements (theirs is a sum), so that a weight means the same at any
      cut. Below 1 it moves nothing that can be measured behind LeNet's `pool1`.
    - Additive noise alone: no multiplicative tensor, nor the self-supervision of the authors' second version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.defenses.shared.aware import snr_db
from cutlayer.defenses.shared.draws import laplace, members
from cutlayer.errors import ConfigError, SplitError
from cutlayer.options import Count, Epochs, LearningRate, Weight

if TYPE_CHECKING:
    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel


@dataclass(kw_only=True)
class Shredder(Defense):
    """Add noise from a learned collection; neither half of the model changes.

    Args:
        scale: Scale of the Laplacian noise with which the tensors start, in the unit of the smashed data.
        weight: Weight of the term that makes noise larger.
        n_noises: Tensors in the collection.
        epochs: Passes over the training data in which they are trained.
        lr: Learning rate of the noise, as a part of `scale`.
    """

    knob = "scale"
    draws = True
    kinds = ("image", "table")
    why_only = "its noise is learned for smashed data of one size, and sentences differ in length"

    scale: Weight
    weight: Weight = 1.0
    n_noises: Count = 16
    epochs: Epochs = 4
    lr: LearningRate = 5e-2

    def __post_init__(self) -> None:
        if min(self.scale, self.weight, self.epochs) < 0 or self.n_noises < 1 or self.lr <= 0:
            raise ConfigError(f"{self!r}: scale, weight and epochs must be 0 or more, n_noises and lr more than 0.")

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Learn the collection; return the split as it is."""
        if self.random:
            self._learned = _fitted(self._learn(split, data, seed))
        return split

    def _learn(self, split: SplitModel, data: Splits, seed: int) -> NDArray[np.float32]:
        """The collection, ``(n_noises, *smashed.shape)``."""
        import torch
        from torch import Tensor, nn
        from torch.nn.functional import cross_entropy

        from cutlayer.machine.compute import pick_device, placed
        from cutlayer.models.halves import copied
        from cutlayer.training import optimize

        fastest, frozen = pick_device(), copied(split)
        head, tail = frozen.head.requires_grad_(False), frozen.tail.requires_grad_(False)
        start = np.random.default_rng(seed).laplace(0, self.scale, (self.n_noises, *split.smashed.shape))
        collection = nn.ParameterList([torch.from_numpy(start.astype(np.float32))])

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            noise = collection[0]
            drawn = torch.from_numpy(rng.integers(self.n_noises, size=len(images))).to(images.device)
            logits = tail(head(images).float() + noise[drawn])
            total: Tensor = cross_entropy(logits.float(), labels) - self.weight * noise.abs().mean()
            return total

        with placed(fastest, head, tail):
            optimize(
                [collection], data.train, loss, epochs=self.epochs, seed=seed, lr=self.lr * self.scale,
                weight_decay=0, device=fastest,
            )  # fmt: skip
        learned: NDArray[np.float32] = collection[0].detach().numpy()
        return learned

    def deploy(self, learned: Mapping[str, NDArray[Any]], halves: Callable[[], SplitModel]) -> None:
        """See `Defense`.

        Raises:
            SplitError: The arrays are not those of a collection.
        """
        super().deploy(learned, halves)
        if not self.random:
            return
        order, location, scale = (np.asarray(learned.get(key, ())) for key in PARTS)
        if (
            order.ndim != 2 or not order.size or order.dtype.kind not in "iu"
            or not location.shape == scale.shape == order.shape[:1]
            or int(order.min()) < 0 or int(order.max()) >= order.shape[1]
        ):  # fmt: skip
            raise SplitError(
                f"What {self!r} learned is no collection of noise; make the folder again with `cutlayer split`."
            )

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Add noise of a member drawn for each sample; at scale 0 return the input itself."""
        if not self.random:
            return smashed
        xp = array_namespace(smashed)
        noise = self._draw(xp.reshape(smashed, (len(smashed), -1)), rng)
        return smashed + xp.astype(xp.reshape(noise, tuple(smashed.shape)), smashed.dtype)

    def _draw(self, flat: Any, rng: np.random.Generator) -> Any:
        """Noise of a member drawn for each sample of ``(N, D)``, of the same shape, float32."""
        if not self._learned:
            raise ConfigError(f"{self!r} has no noise yet; call harden() or deploy() first.")
        xp = array_namespace(flat)
        order, location, scale = (xp.asarray(self._learned[key], device=device(flat)) for key in PARTS)
        if flat.shape[1] != order.shape[1]:
            raise SplitError(
                f"What {self!r} learned is of {order.shape[1]:,} numbers for each sample, not of {flat.shape[1]:,}; "
                "make the folder again with `cutlayer split`."
            )
        member = members(flat, len(order), rng)
        draws = xp.sort(laplace(flat, rng), axis=1) * scale[member, None] + location[member, None]
        noise = xp.empty_like(draws)
        noise[xp.arange(len(flat), device=device(flat))[:, None], xp.astype(order[member], xp.int64)] = draws
        return noise

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """The signal-to-noise ratio of one release, in dB."""
        if not self.random:
            return {}
        few = np.empty((200, smashed[0].size), np.float32)
        return snr_db(smashed, float(self._draw(few, np.random.default_rng(0)).var(axis=0, dtype=np.float64).mean()))


PARTS = ("order", "location", "scale")
"""What is stored of each member: the order of its elements, and its Laplace distribution."""


def _fitted(collection: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Order and Laplace distribution of each member, by maximum likelihood: median and mean distance from it."""
    flat = collection.reshape(len(collection), -1)
    location = np.median(flat, axis=1).astype(np.float32)
    scale = np.abs(flat - location[:, None]).mean(axis=1)
    return {"order": np.argsort(flat, axis=1).astype(np.int32), "location": location, "scale": scale}
