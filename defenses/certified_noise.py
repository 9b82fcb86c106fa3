"""Gaussian noise made for the ceiling: a few bounded numbers, in which training leaves little but the class.

Where noise of known density is added, nobody identifies an input, or rebuilds it, better than the likelihood allows
(`cutlayer.privacy.ceiling`). The more the inputs differ in what the noise is added to, the higher that ceiling is. So
the head ends in a few numbers ``z(x)`` on the unit sphere, which no weight can scale up, and training gives them as
little spread within a class as it can:

    min over bottleneck and tail of  CE(tail(z + n), y) + spread * E ||z - c_y||^2 / (2 sigma^2),    n ~ N(0, sigma^2 I)

With any centers c, the second term, in nats, is no less than the mutual information of input and release given the
class: it is the mean divergence of ``N(z, sigma^2 I)`` from ``N(c_y, sigma^2 I)`` (I. Fischer, "The Conditional Entropy
Bottleneck", Entropy 2020, https://arxiv.org/abs/2002.05379, with a backward encoder of fixed deviation; the distance
alone is the center loss of Wen et al., ECCV 2016). The unit norm is a power constraint, and training allocates the
power to the directions; whatever it learns, a release holds no more than ``d / 2 log2(1 + 1 / (d sigma^2))`` bits of
the input, the capacity of the Gaussian channel (Cover and Thomas, "Elements of Information Theory", section 9.4).

Noise averages out: k releases of one input are as good as one with noise of ``sigma / sqrt(k)``. With `codewords` the
head sends the nearest of M fixed points, so that any number of releases says which of them it is and no more. Among N
equally likely inputs none is then identified with a chance above M / N, whatever the noise.

Threat model: a server that knows everything, the inputs that are possible included, and sees k releases of one input.
The certificate is about what differs within a class. The class itself is what the server is asked for.

With `memo`, the noise of a release is a function of the head's output and of a secret that the device draws when it
starts, so that a repeated input gives the same release and nothing averages out. The secret is in no file. This does
not cover:
    - inputs that are nearly the same (the next frame, a picture encoded anew): they have fresh noise each;
    - several devices, a device that starts again, and a runtime that rounds differently: each adds a release;
    - an attacker who gets this device to encode inputs of his choice: equal releases then tell equal inputs, and his
      candidate is found with certainty;
    - a stolen secret, which undoes the noise of all releases;
    - that an input comes again, which equal releases show.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from math import log2, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.defenses.shared.aware import smashed_of, snr_db
from cutlayer.defenses.shared.density import Density
from cutlayer.defenses.shared.draws import normal
from cutlayer.options import Batch, Epochs, LearningRate, Size, Weight, Whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.data.splits import Dataset, Splits
    from cutlayer.models.halves import SplitModel

SECRET_BYTES = 32
GRID = 8
"""Rows and columns of the smashed data above which the bottleneck halves them."""


@dataclass(kw_only=True)
class CertifiedNoise(Defense):
    """Send a few numbers of norm 1 with Gaussian noise, trained to differ between classes and not within them.

    What arrives is ``(N, numbers)``.

    Args:
        sigma: Standard deviation of the noise on each number; the norm of all numbers together is at most 1.
        numbers: Numbers in a release.
        spread: Weight of the spread within a class, in nats, beside the cross-entropy.
        codewords: Points that may be sent, for each class; 0 sends any point of the sphere. See above.
        width: Width of the hidden layers of the bottleneck.
        epochs: Passes over the training part.
        lr: Greatest learning rate of bottleneck and tail.
        batch: The greatest number of images in a step.
        head_lr_scale: Learning rate of the head before the bottleneck as a part of `lr`; at 0 it stays as it is, and
            its output for the training part is computed once and held in memory.
        memo: Whether a repeated input gets the same noise again; see above for what this does not cover.
    """

    knob = "sigma"
    kinds = ("image", "table")
    why_only = (
        "it sends a few numbers of a whole sentence, which no attack on tokens here can read, so that it could not be "
        "tested"
    )

    sigma: Weight = 0.2
    numbers: Size = 16
    spread: Weight = 0.3
    codewords: Whole = 0
    width: Size = 64
    epochs: Epochs = 8
    lr: LearningRate = 4e-3
    batch: Batch = 64
    head_lr_scale: Weight = 0.0
    memo: bool = False

    def __post_init__(self) -> None:
        self._secret = b""

    @property
    def random(self) -> bool:
        """Whether two releases of one input differ: not with a memo."""
        return self.on and not self.memo

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.on else 0

    def surgery(self, split: SplitModel) -> SplitModel:
        """The bottleneck and the unit norm at the end of the head, the expansion at the start of the tail."""
        if not self.on:
            return split
        narrowed = _grafted(split, *self._ends(split.smashed.shape, seed=0))
        return self._coded(narrowed) if self.codewords else narrowed

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Train bottleneck and tail behind fresh noise, and the head too where `head_lr_scale` says so."""
        if not self.on:
            return split
        import torch
        from torch import nn
        from torch.nn.functional import cross_entropy, normalize

        from cutlayer.models.bounds import Sphere
        from cutlayer.models.halves import copied
        from cutlayer.training import optimize

        parts, (narrow, widen) = copied(split), self._ends(split.smashed.shape, seed)
        frozen, sphere = self.head_lr_scale == 0, Sphere()
        centers = nn.Embedding.from_pretrained(torch.zeros(len(data.classes), self.numbers), freeze=False)

        def loss(inputs: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            smashed = inputs.reshape(-1, *split.smashed.shape) if frozen else parts.head(inputs)
            sent = sphere(narrow(smashed).float())
            task = cross_entropy(parts.tail(widen(self._noisy(sent, rng))).float(), labels)
            return task + self.spread * nats_apart(sent, centers(labels).float(), self.sigma)

        optimize(
            [parts.head, narrow, widen, parts.tail, centers],
            _behind(split, data.train) if frozen else data.train, loss,
            epochs=self.epochs, seed=seed, lr=[self.lr * self.head_lr_scale, *[self.lr] * 4], batch=self.batch,
        )  # fmt: skip
        hardened = _grafted(parts, narrow, widen)
        if not self.codewords:
            return hardened
        from cutlayer.defenses.shared.clusters import Clusters

        sent = torch.from_numpy(smashed_of(hardened, data.train, len(data.train)))
        clusters = Clusters(self.codewords, seed)
        clusters.fit(sent, torch.from_numpy(data.train.labels))
        hardened = self._coded(hardened)
        codewords = hardened.head.get_submodule("codebook").get_buffer("codewords")
        # A class may have too few inputs for all its codewords; the rest repeat the first one and are never sent.
        codewords.copy_(normalize(clusters.centers[:1]))
        codewords[: len(clusters.centers)] = normalize(clusters.centers)
        return hardened

    def _coded(self, split: SplitModel) -> SplitModel:
        """The codebook at the end of the head, still empty; the tail says how many classes there are."""
        import torch

        from cutlayer.models.bounds import Codebook
        from cutlayer.models.halves import graft

        with torch.no_grad():
            classes = split.tail(torch.zeros(1, self.numbers)).shape[1]
        return graft(split, "codebook", to_head=Codebook(self.codewords * classes, self.numbers))

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """What is sent and its bound, the bits that a release holds at most, and the signal-to-noise ratio in dB."""
        if not self.on:
            return {}
        stated: dict[str, float | str] = {
            "numbers": self.numbers,
            "greatest_norm": float(np.linalg.norm(smashed, axis=1).max()),
            "noise_sigma": self.sigma,
            "bits_at_most": self.numbers / 2 * log2(1 + 1 / (self.numbers * self.sigma**2)),
        }
        if self.codewords:
            stated["different_points_sent"] = len(np.unique(smashed, axis=0))
        if self.memo:
            stated["memo"] = "a repeated input has the noise that it had"
        return stated | snr_db(smashed, self.sigma**2)

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Add noise, ``(N, numbers)``: fresh, or with a memo that of the row; at sigma 0 return the input itself."""
        if not self.on:
            return smashed
        return self._repeated(smashed, rng) if self.memo else self._noisy(smashed, rng)

    def density(self, smashed: Any) -> Density | None:
        """That of its noise; with a memo, for whoever does not have the secret."""
        return Density("gaussian", smashed, self.sigma) if self.on else None

    def _noisy(self, smashed: Any, rng: np.random.Generator) -> Any:
        return smashed + array_namespace(smashed).astype(normal(smashed, rng) * self.sigma, smashed.dtype)

    def _repeated(self, smashed: Any, rng: np.random.Generator) -> Any:
        """The noise of each row is drawn by a generator whose seed is a keyed hash of the row."""
        self._secret = self._secret or rng.bytes(SECRET_BYTES)
        rows = np.ascontiguousarray(smashed.detach().cpu().numpy() if hasattr(smashed, "detach") else smashed)
        noise = np.empty(rows.shape, np.float32)
        for row, drawn in zip(rows, noise, strict=True):
            seed = int.from_bytes(hashlib.blake2b(row.tobytes(), key=self._secret).digest(), "little")
            np.random.default_rng(seed).standard_normal(out=drawn, dtype=np.float32)
        xp = array_namespace(smashed)
        return smashed + xp.asarray(noise * np.float32(self.sigma), dtype=smashed.dtype, device=device(smashed))

    def _ends(self, smashed: tuple[int, ...], seed: int) -> tuple[nn.Module, nn.Module]:
        """The bottleneck, ``(N, *smashed)`` to ``(N, numbers)``, and the expansion, which maps back; untrained."""
        import torch
        from torch import nn

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = []
            features = prod(smashed)
            if len(smashed) == 3 and smashed[1] * smashed[2] > 1:
                # A grid is looked at by a convolution, and then averaged: a linear layer on it would be too large.
                stride = 2 if min(smashed[1:]) > GRID else 1
                layers = [
                    nn.Conv2d(smashed[0], self.width, 3, stride, padding=1), nn.BatchNorm2d(self.width), nn.ReLU(),
                    nn.AdaptiveAvgPool2d(1),
                ]  # fmt: skip
                features = self.width
            layers += [nn.Flatten(), nn.Linear(features, self.width), nn.ReLU(), nn.Linear(self.width, self.numbers)]
            widen = nn.Sequential(nn.Linear(self.numbers, prod(smashed)), nn.ReLU(), nn.Unflatten(1, smashed))
        return nn.Sequential(*layers), widen


def nats_apart(sent: Tensor, centers: Tensor, sigma: float) -> Tensor:
    """Mean divergence of the releases of ``(N, d)`` from those of their centers, ``(N, d)``, in nats."""
    return (sent - centers).square().sum(1).mean() / (2 * sigma**2)


def _behind(split: SplitModel, data: Dataset) -> Dataset:
    """The head's output in place of the inputs; it has at least the four axes of a batch of images."""
    smashed = smashed_of(split, data, len(data))
    return replace(data, inputs=smashed.reshape(*smashed.shape, *[1] * (4 - smashed.ndim)))


def _grafted(split: SplitModel, narrow: nn.Module, widen: nn.Module) -> SplitModel:
    from cutlayer.models.bounds import Sphere
    from cutlayer.models.halves import graft

    return graft(graft(split, "bottleneck", to_head=narrow, to_tail=widen), "bound", to_head=Sphere())
