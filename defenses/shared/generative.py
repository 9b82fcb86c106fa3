"""What defenses that hold a generative prior on the device have in common: they learn it, carry it, and run it.

The device needs torch, the head as a module, generator, critic and amortizer (`cutlayer.nets.latent`), and autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError
from defenses.base import Defense

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel
    from cutlayer.nets.critics import Critics
    from cutlayer.nets.latent import Prior

CHUNK = 64
"""Releases crafted at once, for speed and memory alone."""
PUBLIC = ("auxiliary", "train")


class Generative(Defense):
    """Change each release by an optimization of its own, alike in any batch. A subclass says which.

    Where several defenses follow one another, those that change the model come before it, for it learns the head.
    """

    knob = "privacy"

    def __init__(self, privacy: float, latent: int, width: int, prior_steps: int, public: str) -> None:
        if public not in PUBLIC:
            raise ConfigError(f"{type(self).__name__}.public must be one of {', '.join(PUBLIC)}, not {public!r}.")
        if not 0 <= privacy < float("inf"):
            raise ConfigError(f"{type(self).__name__}.privacy must be 0 or more, and finite, not {privacy}.")
        self.privacy = privacy
        self.latent = latent
        self.width = width
        self.prior_steps = prior_steps
        self.public = public
        self._split: SplitModel | None = None
        self._prior: Prior | None = None

    def craft(self, split: SplitModel, prior: Prior, critics: Critics, clean: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` float32 -> the same, crafted, each by its own critic."""
        raise NotImplementedError(f"{type(self).__name__} lacks craft()")

    @property
    def passes(self) -> int:
        """Forward and backward passes of a release through generator and head; a Hessian's product counts as two."""
        raise NotImplementedError(f"{type(self).__name__} lacks passes")

    @property
    def slow(self) -> bool:  # type: ignore[override]
        """At any strength but 0."""
        return self.privacy > 0

    @property
    def random(self) -> bool:  # type: ignore[override]
        """By the draws of the prior; except at strength 0."""
        return self.privacy > 0

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
        images = torch.from_numpy(getattr(data, self.public).images).to(device)
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
        """Craft each; at strength 0, or where gradients are asked for, the input itself comes back."""
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
            given = torch.tensor(smashed) if isinstance(smashed, np.ndarray) else smashed.detach().clone()
            parts = given.to(prior.variance).split(CHUNK)
            critics = [Critics(prior.critic, prior.pool, random, len(part)) for part in parts]
            crafted = torch.cat([self.craft(self._split, prior, *one) for one in zip(critics, parts, strict=True)])
        if isinstance(smashed, np.ndarray):
            return crafted.cpu().numpy().astype(smashed.dtype)
        return crafted.to(smashed)

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """What the device needs beside the head's ONNX file, its size, and how often a release passes through."""
        if self.privacy == 0:
            return {}
        return {
            "device_needs": "torch; head, generator, critic, amortizer",
            "passes_per_release": float(self.passes),
            "prior_bytes": float(sum(array.nbytes for array in self.learned.values())),
        }
