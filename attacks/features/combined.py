"""Base of the attacks that combine the pictures of several others."""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack, fitted, unbiased
from cutlayer.attacks.queries import apart, releases
from cutlayer.attacks.view import Access, View
from cutlayer.attacks.wrapping import rebuilding
from cutlayer.errors import ConfigError

Description = dict[str, Any]
"""An attack as ``{"name": ..., **options}``."""


@dataclass(kw_only=True)
class Combined(Attack):
    """Fit several attacks, and make one picture of theirs.

    How is chosen on images that no part has learned from, except a setting. A part that would learn from them, as ridge
    regression does, is fitted twice: without them for the choice, and to all images for the attack. A part that another
    attack contains, or that ran before it, is fitted once (`View.kept`).

    Args:
        attacks: Two attacks or more, each a table with its name and its options.
    """

    attacks: tuple[Description, ...] = ({"name": "ridge"}, {"name": "decoder"})

    def __post_init__(self) -> None:
        self.attacks = tuple(dict(description) for description in self.attacks)
        self._parts = self._made()
        if len(self._parts) < 2:
            raise ConfigError(f"{self._called()}.attacks must name two attacks or more.")
        self.n_releases = max(part.n_releases for part in self._parts)

    def _called(self) -> str:
        """The name of this attack in a plan, by that of its class."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    def _made(self) -> list[Attack]:
        """The parts, not yet fitted."""
        parts = []
        for description in self.attacks:
            options = dict(description)
            if not isinstance(name := options.pop("name", None), str):
                raise ConfigError(f"Each of {self._called()}.attacks needs a name; {description} has none.")
            parts.append(rebuilding(name, **options))
        return parts

    @property
    def needs(self) -> Access:
        """The access that all parts together need, at least queries."""
        return max(Access.BLACK_BOX, *(part.needs for part in self._parts))

    @property
    def contained(self) -> tuple[Attack, ...]:
        """The parts."""
        return tuple(self._parts)

    def fit(self, view: View) -> None:
        """Fit the parts, and choose the combination on images that they have not learned from."""
        images = apart(view)[1]
        rehearsed = [unbiased(part, view) for part in self._made()]
        self._device = view.device
        self._parts = [fitted(part, view) for part in self._parts]
        arrived = releases(view, images, self.n_releases)
        self._choose(view, pictures(rehearsed, arrived), images.to(view.device), arrived)

    def invert_releases(self, releases: Tensor) -> Tensor:
        """``(n_releases, N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        observed = releases.to(self._device)
        return self._combine(pictures(self._parts, observed), observed).clamp(0, 1).to(releases.device)

    def _choose(self, view: View, rehearsed: Tensor, images: Tensor, releases: Tensor) -> None:
        """Choose how to combine.

        Args:
            view: What the attacker may touch.
            rehearsed: ``(K, N, C, H, W)``, the pictures of the parts.
            images: ``(N, C, H, W)``, the images of which these are pictures.
            releases: ``(n_releases, N, *smashed.shape)``, what arrived for them.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks _choose()")

    def _combine(self, rebuilt: Tensor, releases: Tensor) -> Tensor:
        """``(K, N, C, H, W)``, the pictures of the parts -> ``(N, C, H, W)``."""
        raise NotImplementedError(f"{type(self).__name__} lacks _combine()")


def pictures(attacks: list[Attack], releases: Tensor) -> Tensor:
    """What each of K attacks rebuilds from these releases, ``(K, N, C, H, W)``."""
    return torch.stack([attack.invert_releases(releases[: attack.n_releases]) for attack in attacks])
