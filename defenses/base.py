"""What every defense is: something done offline to the model, and something done online to each release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from cutlayer.data.splits import Splits
    from cutlayer.models.split import SplitModel


class Defense:
    """The undefended baseline, and the base of every defense.

    The constructor's arguments are the hyper-parameters, kept under their own names; `repr` prints them.
    """

    random = False
    """Whether two releases of one input differ, so that an attacker gains by averaging."""

    def harden(self, split: SplitModel, data: Splits) -> SplitModel:
        """Change the model offline, before deployment: surgery, training or both.

        The result keeps the promise that ``tail(head(x)) == model(x)`` in eval mode, and exports to ONNX.
        """
        return split

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Change what leaves the device, online, for each batch.

        Args:
            smashed: ``(N, *smashed.shape)``, a numpy array on the device, or a torch tensor in an attacker's
                hands; the same kind comes back, and gradients flow through it where the defense has any.
            rng: Source of every random draw. Fresh for each release.
        """
        return smashed

    def then(self, other: Defense) -> Defense:
        """This defense first, the other one on its output."""
        return Chain(self, other)

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({options})"


class Chain(Defense):
    """Two defenses, one after the other."""

    def __init__(self, first: Defense, second: Defense) -> None:
        self.first, self.second = first, second

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Random when either is."""
        return self.first.random or self.second.random

    def harden(self, split: SplitModel, data: Splits) -> SplitModel:
        """Harden with the first, then with the second."""
        return self.second.harden(self.first.harden(split, data), data)

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Protect with the first, then with the second."""
        return self.second.protect(self.first.protect(smashed, rng), rng)
