"""Crafter, distilled: a small network behind the head imitates what the optimization would have released.

The original is S. Wang, Y. Ji, J. Ma, X. Zhao, "Crafter: Facial Feature Crafting against Inversion-based Identity Theft
on Deep Models", NDSS 2024, https://arxiv.org/abs/2401.07205; see `defenses.crafter`.

    C = argmin_C  mean ||C(E(x)) - F*(x)||^2        over public images x and their crafted releases F*

No constrained device can craft. This network exports to ONNX with the head and costs the device three convolutions.

Threat model: an honest-but-curious server that knows the head with this network in it, and may query it: where crafting
is an optimization, this is a fixed function, through which gradients and decoders pass.

Differs from the paper: the paper has no such network. What it is worth is measured, not inherited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cutlayer.errors import ConfigError
from defenses.base import Defense
from defenses.crafter import Crafter

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.data.splits import Splits
    from cutlayer.models.split import SplitModel

CHILD = "crafting"
"""Name of the network in the head."""
CHUNK = 128
"""Images crafted together, as in the paper."""


class CrafterDistilled(Defense):
    """Append a small network to the head that imitates Crafter, and needs no torch on the device.

    Args:
        privacy: Crafter's.
        n_crafted: Public images that are crafted to learn from.
        channels: Width of the network.
        epochs: Passes over the crafted images.
        lr: Greatest learning rate of the network.
        iterations: Crafter's.
        latent: Crafter's.
        width: Crafter's.
        prior_steps: Crafter's.
        public: Crafter's; these images are crafted, too.
    """

    knob = "privacy"

    def __init__(
        self,
        privacy: float = 1.0,
        n_crafted: int = 512,
        channels: int = 32,
        epochs: int = 60,
        lr: float = 5e-3,
        iterations: int = 40,
        latent: int = 64,
        width: int = 16,
        prior_steps: int = 400,
        public: str = "auxiliary",
    ) -> None:
        if n_crafted < 1:
            raise ConfigError(f"crafter-distilled.n_crafted must be at least 1, not {n_crafted}.")
        self.privacy = privacy
        self.n_crafted = n_crafted
        self.channels = channels
        self.epochs = epochs
        self.lr = lr
        self.iterations = iterations
        self.latent = latent
        self.width = width
        self.prior_steps = prior_steps
        self.public = public
        self._original = Crafter(
            privacy, iterations, latent=latent, width=width, prior_steps=prior_steps, public=public
        )

    def surgery(self, split: SplitModel) -> SplitModel:
        """Append the network, which changes nothing until it is trained."""
        if self.privacy == 0:
            return split
        import torch

        from cutlayer.models.imitation import Imitation
        from cutlayer.models.split import graft

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = Imitation(split.smashed.shape, self.channels, split.smashed.low, split.smashed.high)
        return graft(split, CHILD, to_head=network)

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Craft public images with the original, and train the network on what went in and what came out."""
        if self.privacy == 0:
            return split
        import torch

        from cutlayer.compute import pick_device, placed
        from cutlayer.data.splits import Dataset
        from cutlayer.models.split import copied
        from cutlayer.training import optimize

        rng, device = np.random.default_rng(seed), pick_device()
        public: Dataset = getattr(data, self.public)
        rows = rng.permutation(len(public))[: self.n_crafted]
        images, head = torch.from_numpy(public.images[rows]), copied(split).head
        with torch.no_grad(), placed(device, head):
            clean = torch.cat([head(part.to(device)).cpu() for part in images.split(CHUNK)])
        self._original.harden(split, data, seed)
        crafted = torch.cat([self._original.protect(part, rng) for part in clean.split(CHUNK)])
        hardened = self.surgery(split)
        network: nn.Module = hardened.head.get_submodule(CHILD)
        variance = clean.var().clamp(min=1e-12).item()
        targets = crafted.to(device)

        def loss(smashed: Tensor, places: Tensor, rng: np.random.Generator) -> Tensor:
            misfit: Tensor = (network(smashed).float() - targets[places]).square().mean() / variance
            return misfit

        # Each clean release with its place among the crafted ones in the stead of a label.
        pairs = Dataset(clean.numpy(), np.arange(len(clean)))
        optimize([network], pairs, loss, epochs=self.epochs, seed=seed, lr=self.lr, device=device)
        return hardened
