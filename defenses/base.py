"""What every defense is: something done offline to the model, and something done online to each release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError
from cutlayer.registry import defense_from

if TYPE_CHECKING:
    from cutlayer.data.splits import Splits
    from cutlayer.models.halves import SplitModel
    from cutlayer.split_folder import SplitFolder


class Defense:
    """The undefended baseline, and the base of every defense.

    The constructor's arguments are the hyper-parameters, kept under their own names; `repr` prints them.
    """

    random = False
    """Whether two releases of one input differ, so that an attacker gains by averaging."""

    slow = False
    """Whether a release takes a device so long that attackers keep every release they have asked for."""

    knob = ""
    """Name of the option that says how strong the defense is, 0 for none.

    With it at 0, and every other part of the defense that an option of its own turns on left off (a bottleneck, a
    deeper cut, a second weight), the undefended model is deployed, bit for bit.
    """

    def surgery(self, split: SplitModel) -> SplitModel:
        """The structure that is deployed, what is new in it not yet trained.

        It follows from the options alone, for a split folder is loaded by the same surgery. The widths of the layers
        may change again in `harden`. The split that is given stays as it is.
        """
        return split

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Change the model offline, before deployment: surgery, training or both.

        Both halves of the result export to ONNX. The split that is given stays as it is.

        Args:
            split: The trained model, cut.
            data: Its parts `train` and, for an adversary of the defender's own, `auxiliary`.
            seed: Of every random choice.
        """
        return split

    @property
    def protects(self) -> bool:
        """Whether anything is done to the releases."""
        return type(self).protect is not Defense.protect

    @property
    def learned(self) -> dict[str, NDArray[Any]]:
        """What `harden` learned and `protect` needs; it travels in the split folder."""
        return {}

    def deploy(self, learned: Mapping[str, NDArray[Any]], halves: Callable[[], SplitModel]) -> None:
        """Get ready to protect, on the device: take up what `harden` learned.

        Args:
            learned: As `learned` was when the split folder was written.
            halves: Loads the halves of the split folder in torch, for a defense that needs the head itself.
        """

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """What to state beside the results, such as the signal-to-noise ratio.

        Args:
            smashed: ``(N, *smashed.shape)``, of the hardened head, before protection.
        """
        return {}

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

    @property
    def slow(self) -> bool:  # type: ignore[override]
        """Slow when either is."""
        return self.first.slow or self.second.slow

    @property
    def protects(self) -> bool:
        """Whether either does."""
        return self.first.protects or self.second.protects

    def surgery(self, split: SplitModel) -> SplitModel:
        """The first one's surgery, then the second one's."""
        return self.second.surgery(self.first.surgery(split))

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Harden with the first, then with the second.

        Raises:
            ConfigError: The second one trains, and would do so on what the first one has not yet protected.
        """
        hardened = self.first.harden(split, data, seed)
        again = self.second.harden(hardened, data, seed)
        if again is not hardened and self.first.protects:
            raise ConfigError(
                f"{self.second!r} would be trained without {self.first!r} before it; let it come first, or not train."
            )
        return again

    @property
    def learned(self) -> dict[str, NDArray[Any]]:
        """What both learned, by ``first.`` and ``second.``."""
        parts = {"first": self.first, "second": self.second}
        return {f"{part}.{name}": v for part, defense in parts.items() for name, v in defense.learned.items()}

    def deploy(self, learned: Mapping[str, NDArray[Any]], halves: Callable[[], SplitModel]) -> None:
        """Give each its own."""
        for part, defense in (("first.", self.first), ("second.", self.second)):
            own = {name.removeprefix(part): v for name, v in learned.items() if name.startswith(part)}
            defense.deploy(own, halves)

    def facts(self, smashed: NDArray[np.float32]) -> dict[str, float | str]:
        """Those of both; where they state the same, each under its name, of what comes to it."""
        protected = self.first.protect(smashed, np.random.default_rng(0))
        first, second = self.first.facts(smashed), self.second.facts(protected)
        shared = first.keys() & second.keys()
        return {
            f"{who} {name}" if name in shared else name: value
            for who, stated in (("first", first), ("second", second))
            for name, value in stated.items()
        }

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        """Protect with the first, then with the second."""
        return self.second.protect(self.first.protect(smashed, rng), rng)


def deployed(split: SplitFolder) -> Defense:
    """The defense of a split folder, ready to protect.

    Raises:
        SplitError: What the defense learned is missing or damaged.
    """
    defense: Defense = defense_from(split.manifest.defense)
    defense.deploy(split.learned(), split.halves)
    return defense
