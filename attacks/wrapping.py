"""Attacks that begin with another attack: its name and its options are two options of theirs.

A subclass makes more of what the other attack finds, or shows it something else than what arrived. What it answers must
never be worse than what the other one answers: it chooses on images that the other one has not learned from, and where
it is not surely better (`cutlayer.attacks.queries.surely_less`), it answers as that one does.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cutlayer.attacks.base import Attack, unbiased
from cutlayer.attacks.queries import apart, releases
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.registry import ATTACKS


@dataclass(kw_only=True)
class Wrapping(Attack):
    """Base of the attacks that begin with another one.

    `_inner` is the other attack, not yet fitted. A subclass's `fit` fits it, by `fitted(self._inner, view)` where it is
    fitted to the same view, so that all attacks that begin with it share it.

    Args:
        attack: Name of the attack to begin with.
        options: Its options; None for its defaults.
    """

    attack: str = "decoder"
    options: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self._inner = self.another()
        self.n_releases = self._inner.n_releases

    def another(self) -> Attack:
        """The attack to begin with, made anew and not fitted."""
        return rebuilding(self.attack, **(self.options or {}))

    @property
    def needs(self) -> Access:
        """What the other attack needs, at least queries."""
        return max(Access.BLACK_BOX, self._inner.needs)

    @property
    def keeps_apart(self) -> bool:
        """Whether the other attack does."""
        return self._inner.keeps_apart

    @property
    def contained(self) -> tuple[Attack, ...]:
        """The other attack."""
        return (self._inner,)

    def rehearsed(self, view: View, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the other attack answers on images that it has not learned from.

        Args:
            view: What the attacker may touch, with queries.
            most: Images at most.

        Returns:
            On the attacker's device, the images and what the other attack rebuilds, ``(N, C, H, W)`` each, and the
            releases from which it does, ``(n_releases, N, *smashed.shape)``.
        """
        images, attack = apart(view)[1][:most], unbiased(self.another(), view)
        arrived = releases(view, images, self.n_releases)
        return images.to(view.device), attack.invert_releases(arrived), arrived

    def _only_black_box(self, name: str, instead: str) -> None:
        """Refuse to begin with an attack that needs more than queries, or several releases.

        Args:
            name: Name of this attack.
            instead: What to do instead, as a clause.

        Raises:
            ConfigError: The other attack needs more.
        """
        if self._inner.needs > Access.BLACK_BOX or self._inner.n_releases > 1:
            raise ConfigError(
                f"{name} cannot run {self.attack!r}. It runs black-box attacks on one release; {instead}."
            )


def rebuilding(name: str, **options: Any) -> Attack:
    """The attack of this name, not fitted, for another attack that begins with its reconstructions.

    Raises:
        ConfigError: It reconstructs nothing; or the name or an option is unknown.
    """
    attack: Attack = ATTACKS.make(name, **options)
    if not attack.reconstructs:
        raise ConfigError(f"{name} reconstructs nothing, so that no other attack can begin with it.")
    return attack
