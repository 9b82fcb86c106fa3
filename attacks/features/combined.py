"""Base of the attacks that combine the pictures of several others."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack, fitted, unbiased
from cutlayer.attacks.queries import apart, release
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.registry import ATTACKS

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
            raise ConfigError(f"{type(self).__name__.lower()}.attacks must name two attacks or more.")
        self.n_releases = max(part.n_releases for part in self._parts)

    def _made(self) -> list[Attack]:
        """The parts, not yet fitted."""
        parts = []
        for description in self.attacks:
            options = dict(description)
            if not isinstance(name := options.pop("name", None), str):
                raise ConfigError(
                    f"Each of {type(self).__name__.lower()}.attacks needs a name; {description} has none."
                )
            part: Attack = ATTACKS.make(name, **options)
            if not part.reconstructs:
                raise ConfigError(f"{name} reconstructs nothing, so that {type(self).__name__.lower()} cannot use it.")
            parts.append(part)
        return parts

    @property
    def needs(self) -> Access:
        """The access that all parts together need, at least queries."""
        return max(Access.BLACK_BOX, *(part.needs for part in self._parts))

    @property
    def decoders(self) -> tuple[str, ...]:
        """Those of all parts."""
        return tuple(dict.fromkeys(name for part in self._parts for name in part.decoders))

    @property
    def rescales_misfit(self) -> bool:
        """Whether a part does."""
        return any(part.rescales_misfit for part in self._parts)

    @property
    def parts(self) -> tuple[Attack, ...]:
        """This attack, the parts, and theirs."""
        return (self, *(inner for part in self._parts for inner in part.parts))

    def fit(self, view: View) -> None:
        """Fit the parts, and choose the combination on images that they have not learned from."""
        images = apart(view)[1]
        rehearsed = [unbiased(part, view) for part in self._made()]
        self._device = view.device
        self._parts = [fitted(part, view) for part in self._parts]
        releases = torch.stack([release(view.query, images, view.device) for _ in range(self.n_releases)])
        self._choose(view, pictures(rehearsed, releases), images.to(view.device), releases)

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        return self.invert_releases(smashed[None])

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
