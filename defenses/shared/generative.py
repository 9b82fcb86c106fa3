"""The code of defenses that hold a generative prior on the device: they learn it, store it, and run it.

The device needs torch, the head as a module, generator, critic and amortizer (`cutlayer.nets.latent`), and autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError
from cutlayer.options import Count, Size, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel
    from cutlayer.nets.critics import Critics
    from cutlayer.nets.latent import Prior

CHUNK = 64
"""Releases crafted together; bounds the memory."""
PUBLIC = ("auxiliary", "train")


class Generative(Defense):
    """Change each release by an optimization of its own, alike in any batch. A subclass says which.

    Where several defenses follow one another, those that change the model come before it, because it learns the head.

    Args:
        privacy: Weight of the distance to the prior against the change of the smashed data.
        n_critic: Steps of the critic in each iteration.
        latent: Length of a latent vector (paper: 500 for CelebA).
        width: Channels of generator and critic at full resolution.
        prior_steps: Training steps of the generator.
        public: Whose images the prior learns: `auxiliary` (people or scenes apart from the victims'), or `train`.
    """

    knob = "privacy"
    draws = True
    kinds = ("image",)
    why_only = "it searches for a picture"

    privacy: Weight
    n_critic: Count
    latent: Size
    width: Size
    prior_steps: Count
    public: str

    def __post_init__(self) -> None:
        if self.public not in PUBLIC:
            raise ConfigError(f"{self!r}: public must be one of {', '.join(PUBLIC)}.")
        if not 0 <= self.privacy < float("inf"):
            raise ConfigError(f"{self!r}: privacy must be 0 or more, and finite.")
        self._split: SplitModel | None = None
        self._prior: Prior | None = None

    def craft(self, split: SplitModel, prior: Prior, critics: Critics, clean: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` float32 -> the same, crafted, each by its own critic."""
        raise NotImplementedError(f"{type(self).__name__} lacks craft()")

    @property
    def passes(self) -> int:
        """Forward and backward passes through generator and head per release; a Hessian product counts as two."""
        raise NotImplementedError(f"{type(self).__name__} lacks passes")

    @property
    def slow(self) -> bool:
        """Whether releases are crafted: not at strength 0."""
        return self.on

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Learn the prior; the model stays as it is."""
        if self.privacy == 0:
            return split
        import torch

        from cutlayer.machine.compute import pick_device
        from cutlayer.models.halves import copied
        from cutlayer.nets import latent

        device = pick_device()
        self._split = copied(split)
        images = torch.from_numpy(getattr(data, self.public).inputs).to(device)
        size = {"latent": self.latent, "width": self.width, "steps": self.prior_steps}
        head = self._split.head.to(device).eval().requires_grad_(False)
        self._prior = latent.learned(head, images, split.smashed.shape, seed=seed, **size)
        return split

    @property
    def learned(self) -> dict[str, NDArray[Any]]:
        """Weights and scales of the prior."""
        state = self._prior.state_dict() if self._prior is not None else {}
        return {name: tensor.cpu().numpy() for name, tensor in state.items()}

    def deploy(self, learned: Mapping[str, NDArray[Any]], halves: Callable[[], SplitModel]) -> None:
        """Build the prior again, and the head as a module."""
        if self.privacy == 0:
            return
        import torch

        from cutlayer.machine.compute import pick_device
        from cutlayer.nets.latent import Prior

        device = pick_device()
        self._split = halves()
        self._split.head.to(device).requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            self._prior = Prior(self.latent, self.width, self._split.input.shape, self._split.smashed.shape)
        self._prior.load_state_dict({name: torch.tensor(array) for name, array in learned.items()})
        self._prior.to(device).eval().requires_grad_(False)

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Craft each release; at strength 0, or where gradients are required, return the input itself."""
        if self.privacy == 0:
            return smashed
        import torch

        if isinstance(smashed, torch.Tensor) and smashed.requires_grad:
            return smashed
        if self._split is None or self._prior is None:
            raise ConfigError(f"{type(self).__name__} protects only after harden() or deploy().")
        from cutlayer.nets.critics import Critics

        random, prior = torch.Generator().manual_seed(int(rng.integers(2**63))), self._prior
        with torch.inference_mode(False), torch.enable_grad():
            clean = torch.tensor(smashed) if isinstance(smashed, np.ndarray) else smashed.detach().clone()
            parts = clean.to(prior.variance).split(CHUNK)
            critics = [Critics(prior.critic, prior.pool, random, len(part)) for part in parts]
            pairs = zip(critics, parts, strict=True)
            crafted = torch.cat([self.craft(self._split, prior, own, part) for own, part in pairs])
        if isinstance(smashed, np.ndarray):
            return crafted.cpu().numpy().astype(smashed.dtype)
        return crafted.to(smashed)

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """What the device needs beside the head's ONNX file, the size of the prior, and the passes for each release."""
        if self.privacy == 0:
            return {}
        return {
            "device_needs": "torch; head, generator, critic, amortizer",
            "passes_per_release": float(self.passes),
            "prior_bytes": float(sum(array.nbytes for array in self.learned.values())),
        }
