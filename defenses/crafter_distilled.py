"""Crafter, distilled: a small network behind the head imitates what the optimization would have released.

The original is S. Wang, Y. Ji, J. Ma, X. Zhao, "Crafter: Facial Feature Crafting against Inversion-based Identity Theft
on Deep Models", NDSS 2024, https://arxiv.org/abs/2401.07205; see `cutlayer.defenses.crafter`.

    C = argmin_C  mean ||C(E(x)) - F*(x)||^2        over public images x and their crafted releases F*

No constrained device can craft. This network exports to ONNX with the head and costs the device three convolutions.

Threat model: an honest-but-curious server that knows the head with this network in it, and may query it: where crafting
is an optimization, this is a fixed function, through which gradients and decoders pass.

Differs from the paper: the paper has no such network. What it is worth is measured, not inherited.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.defenses.crafter import Crafter
from cutlayer.errors import ConfigError
from cutlayer.options import Count, Epochs, LearningRate, Size, Weight, Whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel

CHILD = "crafting"
"""Name of the network in the head."""
CHUNK = 128
"""Images pushed through the head together."""
HELD_OUT = 0.1
"""Share of the crafted releases that the network does not learn from, by which it is judged."""
MISSED = "missed"


@dataclass(kw_only=True)
class CrafterDistilled(Defense):
    """Append a small network to the head that imitates Crafter, and needs no torch on the device.

    Options that are not listed here are those of `cutlayer.defenses.crafter.Crafter`.

    Args:
        n_crafted: Public images that are crafted to learn from.
        channels: Width of the network.
        epochs: Passes over the crafted images.
        lr: Greatest learning rate of the network.
        crafting_lr: Crafter's `lr`.
        public: Whose images Crafter's prior learns; these images are crafted, too.
    """

    knob = "privacy"
    kinds = ("image",)
    why_only = "it searches for a picture"

    privacy: Weight = 1.0
    n_crafted: Count = 512
    channels: Size = 32
    epochs: Epochs = 60
    lr: LearningRate = 5e-3
    iterations: Count = 40
    crafting_lr: LearningRate = 0.05
    search: Whole = 3
    terms: Count = 6
    n_critic: Count = 2
    latent: Size = 64
    width: Size = 16
    prior_steps: Count = 400
    public: str = "auxiliary"

    def __post_init__(self) -> None:
        if self.n_crafted < 2:
            raise ConfigError(f"crafter-distilled.n_crafted must be at least 2, not {self.n_crafted}.")
        options = {option.name: getattr(self, option.name) for option in fields(Crafter) if option.init}
        self._original = Crafter(**options | {"lr": self.crafting_lr})

    def surgery(self, split: SplitModel) -> SplitModel:
        """Append the network, which changes nothing until it is trained."""
        if self.privacy == 0:
            return split
        import torch

        from cutlayer.defenses.surgery.imitation import Imitation
        from cutlayer.models.halves import graft

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = Imitation(split.smashed.shape, self.channels, split.smashed.low, split.smashed.high)
        return graft(split, CHILD, to_head=network)

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Craft public images with the original, and train the network on what went in and what came out."""
        if self.privacy == 0:
            return split
        import torch

        from cutlayer.data.splits import Dataset
        from cutlayer.machine.compute import pick_device, placed
        from cutlayer.models.halves import copied
        from cutlayer.training import optimize

        rng, device = np.random.default_rng(seed), pick_device()
        public: Dataset = getattr(data, self.public)
        public = public.at(rng.permutation(len(public))[: self.n_crafted])
        held_out = public.held_out(max(1, int(HELD_OUT * len(public))))
        public, learning = public.at(np.argsort(held_out, kind="stable")), int((~held_out).sum())
        images, head = torch.from_numpy(public.inputs), copied(split).head
        with torch.no_grad(), placed(device, head):
            clean = torch.cat([head(part.to(device)).cpu() for part in images.split(CHUNK)])
        self._original.harden(split, data, seed)
        crafted = self._original.protect(clean, rng).to(device)
        hardened = self.surgery(split)
        network: nn.Module = hardened.head.get_submodule(CHILD)
        variance = clean.var().clamp(min=1e-12).item()

        def loss(smashed: Tensor, places: Tensor, rng: np.random.Generator) -> Tensor:
            misfit: Tensor = (network(smashed).float() - crafted[places]).square().mean() / variance
            return misfit

        # Each clean release has its place among the crafted ones as its label.
        pairs = Dataset(clean.numpy(), np.arange(len(clean)))
        optimize([network], pairs.take(learning), loss, epochs=self.epochs, seed=seed, lr=self.lr, device=device)
        with torch.no_grad():
            guesses = clean[learning:], network(clean[learning:])
            far, missed = (crafted[learning:].cpu() - guess for guess in guesses)
        self._learned = {MISSED: (missed.square().mean() / far.square().mean().clamp(min=1e-12)).numpy()}
        return hardened

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """The squared error of the imitation over that of changing nothing, on images held out: 1 is useless."""
        return {"imitation_error": float(self._learned[MISSED])} if self._learned else {}
