"""Mask-aware: tell the attack which values were left out, or show it nothing else.

Dropout and top-k set most of what leaves the device to zero. Which values those are is a message of its own: for top-k
at 5 % the positions alone rebuild nearly as much as positions and values together, while a white-box attack on the same
bytes finds next to nothing (the study of sparse collaborative inference by Hoefler, Mueller and Samek; code
github.com/an7123/Privacy-Study-Sparse-CI). So a sparse format is attacked on both, on either, and the worst counts.

Threat model: the attacker queries the device's head and defense with its own images; it sees which values arrive as
zero, as every server does. Where nothing is left out all positions look alike, and only ``values`` and ``both`` work.

Differs from the study: their values alone stand at random positions; ours are packed in the order in which they were
sent, as a wire that sends no zero would have them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.queries import CHUNK
from cutlayer.attacks.view import View
from cutlayer.attacks.wrapping import Wrapping
from cutlayer.errors import ConfigError
from cutlayer.nets.grid import channel_axis
from cutlayer.spec import TensorSpec

SEES = ("both", "positions", "values")


@dataclass(kw_only=True)
class MaskAware(Wrapping):
    """Run another attack on smashed data that is seen with its mask.

    Args:
        attack: Name of the attack that is run; it may need queries, and no more.
        see: ``both``: the smashed data and, as further channels, which values survived; ``positions``: only which
            values survived; ``values``: only the surviving values, packed.
        options: Options of the attack that is run; None for its defaults.
    """

    plain_words = "is told which numbers were left out, or sees nothing else"
    sees_mask = True

    see: str = "both"

    def __post_init__(self) -> None:
        if self.see not in SEES:
            raise ConfigError(f"mask-aware.see must be one of {', '.join(SEES)}, not {self.see!r}.")
        super().__post_init__()
        self._only_black_box("mask-aware", "use white-box with the misfit 'survivors', or wrap mask-aware in averaging")

    def fit(self, view: View) -> None:
        """Fit the attack to releases in the form in which it sees them later."""
        query = view.query
        self._channels, self._size = channel_axis(view.smashed.shape) + 1, view.smashed.size
        if self.see == "values":
            images = torch.from_numpy(view.auxiliary.inputs[:CHUNK])
            self._size = max(1, int((query(images) != 0).flatten(1).sum(dim=1).max()))
        shape = tuple(self._seen(torch.zeros(1, *view.smashed.shape)).shape[1:])
        self._inner.fit(view.with_query(lambda images: self._seen(query(images)), TensorSpec(shape)))

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        return self._inner.invert(self._seen(smashed))

    def _seen(self, smashed: Tensor) -> Tensor:
        """The form in which the wrapped attack sees ``(N, *smashed.shape)``."""
        survived = smashed != 0
        if self.see == "values":
            flat = smashed.flatten(1)
            order = survived.flatten(1).to(torch.uint8).argsort(dim=1, descending=True, stable=True)
            return flat.gather(1, order[:, : self._size])  # zeros fill the end where fewer survived
        positions = survived.to(smashed.dtype)
        return positions if self.see == "positions" else torch.cat([smashed, positions], dim=self._channels)
