"""Split-N-Denoise: noise on what is sent for each token, and a network on the device that takes it out of the answer.

P. Mai, R. Yan, Z. Huang, Y. Yang, Y. Pang, "Split-and-Denoise: Protect large language model inference with local
differential privacy", ICML 2024, https://arxiv.org/abs/2310.09130:

    x' = clip(x, C) + l v,   l ~ Gamma(d, 1 / eta),  v uniform on the sphere;   answer = D(tail(x'), x, z)

with x the row of a token, d its numbers, z the noise. The density of the noise is exp(-eta ||z||), so that a row is
eta ||x - x'||-private: metric local differential privacy, and for any two clipped rows epsilon is 2 C eta. D is trained
by whoever serves the model, on sentences of its own, to give what the tail answers without noise, and runs on the
device, which knows the row and the noise. Nothing of the model changes.

A sentence of T tokens has T times the epsilon, and k releases k times that. Behind a layer of attention one token
changes all rows, so that the figure of one row is no promise about a token; cut behind the embedding, as the paper
does, it is. The length of a sentence is not hidden.

Threat model: a server that knows the settings and D, and may see several releases of one sentence, whose noise averages
out. It does not see what D makes of its answer.

The device knows the clean rows, and D is given them: it may answer without the server at all. So a second network of
the same size is trained that sees neither the answer nor the noise, and what it achieves is stated beside.

Differs from the paper:
    - D is a network of one hidden layer on the answer and on the means of rows and noise over the tokens, in numpy; it
      is a transformer there, over all rows.
    - The answer is what the tail gives: the logits of a classifier, where the model is one; theirs is the embedding of
      the whole text, on which the device trains a classifier of its own.
    - `noise` is 1 / (2 C eta), so that epsilon of a row is 1 / noise; C is the median norm of the rows, if it is not
      stated. Noise may stand behind any layer, not the embedding alone.
    - The noisy row is not clipped again; that would only follow the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.defenses.shared.aware import smashed_of, snr_db, tokens_of
from cutlayer.defenses.shared.draws import radial
from cutlayer.errors import ConfigError
from cutlayer.options import Epochs, Size, Weight
from cutlayer.sequences import each_length, lengths

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from cutlayer.data.splits import Dataset, Splits
    from cutlayer.models.halves import SplitModel

RELEASES = (1, 4, 16, 64)
"""Numbers of releases of one sentence for which epsilon is reported."""
BATCH = 250
"""Sentences that are computed at a time."""
LR = 3e-3
"""Greatest learning rate of the networks."""
LAYERS = ("center", "scale", "weight1", "bias1", "weight2", "bias2", "unit")
"""What is stored of a network: how its input is scaled, its two layers, and the factor of what it gives."""


@dataclass(kw_only=True)
class SplitNDenoise(Defense):
    """Clip the row of each token and add noise of a random length and direction; take it out of the answer.

    Args:
        noise: 1 / epsilon of one row; the mean length of its noise is 2 C `noise` times the numbers of a row.
        clip: C, in the unit of the smashed data; when absent the median norm of the rows of the training part.
        hidden: Numbers of the hidden layer of the network that takes the noise out.
        epochs: Passes over the training part for which it learns; with 0 the answer stays as it is.
    """

    knob = "noise"
    draws = True
    kinds = ("tokens",)
    why_only = "its noise is that of the row of a token"

    noise: Weight = 0.01
    clip: Weight | None = None
    hidden: Size = 128
    epochs: Epochs = 8

    def __post_init__(self) -> None:
        if self.noise < 0 or self.epochs < 0 or self.hidden < 1 or (self.clip is not None and self.clip <= 0):
            raise ConfigError(f"{self!r}: noise and epochs must be 0 or more, clip and hidden positive.")

    @property
    def mends(self) -> bool:
        """Whether the noise is taken out of answers."""
        return self.on and self.epochs > 0

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Fix the clip, and train the network of the device; the model stays as it is.

        Raises:
            ConfigError: What is sent has no row for each token.
        """
        if not self.on:
            return split
        if not split.sequence:
            raise ConfigError(
                f"{self!r} needs a row for each token, and what is sent at {split.cut} is {split.smashed}; cut earlier."
            )
        norm = float(np.median(np.linalg.norm(tokens_of(smashed_of(split, data.train)), axis=-1))) or 1.0
        self._learned = {"clip": np.array(norm if self.clip is None else self.clip)}
        if self.epochs:
            both = {
                f"{name}.{layer}": array
                for name, alone in (("denoiser", False), ("alone", True))
                for layer, array in self._trained(split, data.train, seed, alone=alone).items()
            }
            self._learned |= both
            # Vectors are told apart by the cosine, whatever classes the sentences have.
            classes = len(self._learned["denoiser.bias2"]) == len(data.classes)
            self._learned["of_classes"] = np.array(classes)
            self._learned["alike"] = self._compared(split, data.auxiliary, seed, classes=classes)
        return split

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Clip each row and add fresh noise, ``(N, T, width)``; at noise 0 return the input itself."""
        if not self.on:
            return smashed
        xp, clip = array_namespace(smashed), self._clip
        norms = xp.sqrt(xp.sum(smashed * smashed, axis=-1, keepdims=True) + 1e-24)  # at 0 the root has no gradient
        clipped = smashed * (clip / xp.where(norms > clip, norms, xp.full_like(norms, clip)))
        return clipped + xp.astype(radial(smashed, rng) * (2 * clip * self.noise), smashed.dtype)

    def mend(self, answer: NDArray[Any], smashed: NDArray[Any], sent: NDArray[Any]) -> NDArray[Any]:
        """What the tail would have answered without noise, as the network of the device has it."""
        return answer + self._network("denoiser", _seen(answer, smashed, sent)) if self.mends else answer

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """Epsilon of a row and of a sentence, and how often the answer is that without noise."""
        if not self.on:
            return {}
        length, width = smashed.shape[1:]
        stated: dict[str, float | str] = {
            "epsilon_of_a_row_after_1": 1 / self.noise,
            **{f"epsilon_after_{k}": k * length / self.noise for k in RELEASES},
            "guarantee": (
                f"local DP of a whole sentence, for any two of {length} tokens; above 10 or so it promises little"
            ),
            "clip": self._clip,
            # The mean square of a length of the noise is d (d + 1) times that of its unit, of which a number has 1 / d.
            **snr_db(tokens_of(smashed), (width + 1) * (2 * self._clip * self.noise) ** 2),
        }
        if "alike" in self._learned:
            like = "same_answer" if self._learned["of_classes"] else "cosine_of_answer"
            named = ("as_sent", "denoised", "by_the_device_alone")
            stated |= {f"{like}_{name}": float(v) for name, v in zip(named, self._learned["alike"], strict=True)}
        return stated

    @property
    def _clip(self) -> float:
        if "clip" not in self._learned:
            raise ConfigError(f"{self!r} has no clip yet; call harden() or deploy() first.")
        return float(self._learned["clip"])

    def _network(self, name: str, seen: NDArray[Any]) -> NDArray[np.float32]:
        """What a network gives for ``(N, numbers)``."""
        center, scale, weight1, bias1, weight2, bias2, unit = (self._learned[f"{name}.{layer}"] for layer in LAYERS)
        hidden = np.maximum((seen - center) * scale @ weight1.T + bias1, 0)
        given: NDArray[np.float32] = (hidden @ weight2.T + bias2) * unit
        return given

    def _trained(self, split: SplitModel, data: Dataset, seed: int, *, alone: bool) -> dict[str, NDArray[Any]]:
        """The layers of a network; one that is alone sees only the clean rows, and answers without the server."""
        import torch
        from torch import nn
        from torch.nn.functional import mse_loss

        from cutlayer.machine.compute import pick_device, placed
        from cutlayer.training import optimize

        device, ask, width = pick_device(), self._asking(split), split.smashed.shape[1]

        def example(ids: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            clean, noisy, means = ask(ids, rng)
            return (means[:, :width], clean) if alone else (torch.cat([noisy, means], 1), clean - noisy)

        with placed(device, split.head, split.tail):
            rng, parts = np.random.default_rng(seed), torch.from_numpy(data.inputs).split(BATCH)
            examples = [example(part.to(device), rng) for part in parts]
            seen, goals = (torch.cat(part) for part in zip(*examples, strict=True))
            center, spread, unit = seen.mean(0), seen.std(0), float(goals.std()) or 1.0
            scale = torch.where(spread > 1e-6, 1 / spread, 0.0)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network = nn.Sequential(
                    nn.Linear(seen.shape[1], self.hidden), nn.ReLU(), nn.Linear(self.hidden, goals.shape[1])
                )

            def loss(ids: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
                seen, goals = example(ids, rng)
                return mse_loss(network((seen - center) * scale).float(), goals / unit)

            optimize([network], data, loss, epochs=self.epochs, seed=seed, lr=LR, device=device)
        weights = [value.numpy() for value in network.state_dict().values()]
        return dict(zip(LAYERS, [center.cpu().numpy(), scale.cpu().numpy(), *weights, np.array(unit)], strict=True))

    def _asking(self, split: SplitModel) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        """A function from ids and a source of draws to the answers without and with noise, and the means of both."""
        import torch

        def ask(ids: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
            own = lengths(ids.cpu().numpy())
            with torch.no_grad():
                smashed = split.head(ids).float()
                sent = each_length(lambda rows: self.protect(rows, rng), smashed, own)
                n = torch.from_numpy(own).to(smashed.device)[:, None]
                means = torch.cat([smashed.sum(1) / n, (sent - smashed).sum(1) / n], 1)
                return split.tail(smashed).float(), split.tail(sent).float(), means

        return ask

    def _compared(self, split: SplitModel, data: Dataset, seed: int, *, classes: bool) -> NDArray[np.float64]:
        """How like the answer is to that without noise: as sent, denoised, and by the device alone.

        It is measured on the attackers' sentences, on which nothing was trained: the share whose greatest number is the
        same, where the answer is of classes, or the mean cosine.
        """
        import torch

        ask, rng = self._asking(split), np.random.default_rng(seed)
        asked = [ask(part, rng) for part in torch.from_numpy(data.inputs).split(BATCH)]
        clean, noisy, means = (torch.cat(parts).numpy() for parts in zip(*asked, strict=True))
        denoised = noisy + self._network("denoiser", np.concatenate([noisy, means], 1))
        alone = self._network("alone", means[:, : split.smashed.shape[1]])
        if classes:
            return np.array([(given.argmax(1) == clean.argmax(1)).mean() for given in (noisy, denoised, alone)])
        return np.array([_cosine(given, clean) for given in (noisy, denoised, alone)])


def _cosine(first: NDArray[Any], second: NDArray[Any]) -> float:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(1) / np.maximum(lengths, 1e-12)).mean())


def _seen(answer: NDArray[Any], smashed: NDArray[Any], sent: NDArray[Any]) -> NDArray[Any]:
    """What the network takes: the answer, and the means of rows and noise over the tokens, ``(N, numbers)``.

    Padding, whose rows are zeros both before and after, adds nothing to either sum.
    """
    n = np.maximum(1, smashed.any(axis=2).sum(1))[:, None]
    return np.concatenate([answer, smashed.sum(1) / n, (sent - smashed).sum(1) / n], axis=1)
