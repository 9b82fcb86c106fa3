"""Base of every attack, and what an attack states about itself.

The threat model is an object with missing parts: a `View` whose withheld capabilities are None. An attack that
reaches for one fails with `WithheldError`; it cannot cheat by accident.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cutlayer.attacks.queries import apart
from cutlayer.attacks.view import SMASHED, Access, View
from cutlayer.metrics.nearness import distances


@dataclass(kw_only=True)
class Attack:
    """Base of every attack: `fit` before any victim's data is seen, then `invert` or `identify` what arrived.

    A subclass is a dataclass, and its fields are its options: nothing assigns them after `__post_init__`. What `fit`
    learns goes into attributes whose names begin with ``_``, so the dataclass is not frozen.
    """

    plain_words: ClassVar[str] = ""
    """What the attack does, for a reader who does not know the field: a clause that begins with a verb or a noun."""

    rebuilds: ClassVar[tuple[str, ...]] = ("image", "table")
    """The kinds of inputs that the attack can rebuild or tell apart, as in `cutlayer.data.modality`."""

    is_floor: ClassVar[bool] = False
    """Whether the attack ignores what arrives, so that any attack that learns something does better."""

    sees: ClassVar[str] = SMASHED
    """What the attack observes of each message: its decoded smashed data, or only its length."""

    sees_mask: ClassVar[bool] = False
    """Whether the attack is told which of the values that arrive were left out."""

    steps_option: ClassVar[str] = ""
    """Name of the option that counts the steps, to which the time is about proportional; empty where there is none."""

    least_steps: ClassVar[int] = 0
    """The attack is under-trained with fewer steps than these."""

    n_releases = 1
    """Releases of one private input that the attack wants to observe."""

    @property
    def steps(self) -> int | None:
        """The number of steps; None where the attack has none."""
        return getattr(self, self.steps_option) if self.steps_option else None

    @property
    def needs(self) -> Access:
        """The least access with which the attack can run."""
        return Access.QUERY_FREE

    @property
    def reconstructs(self) -> bool:
        """Whether the attack rebuilds inputs; one that does not says only which of some candidates was sent."""
        kind = type(self)
        return kind.invert is not Attack.invert or kind.invert_releases is not Attack.invert_releases

    @property
    def decoders(self) -> tuple[str, ...]:
        """Names in `cutlayer.nets.decoders` of the networks that the attack itself trains."""
        return ()

    @property
    def rescales_misfit(self) -> bool:
        """Whether the attack itself corrects for directions of the smashed data that a defense has made faint."""
        return False

    @property
    def keeps_apart(self) -> bool:
        """Whether the attack learns nothing from the images that `cutlayer.attacks.queries.apart` puts aside.

        By them it may choose an epoch or a setting. Another attack may then measure this one's errors on them.
        """
        return False

    @property
    def contained(self) -> tuple[Attack, ...]:
        """The attacks that this one runs, without those that they run themselves."""
        return ()

    @property
    def parts(self) -> tuple[Attack, ...]:
        """This attack, the attacks that it contains, and those that these contain."""
        return (self, *(part for attack in self.contained for part in attack.parts))

    def fit(self, view: View) -> None:
        """Prepare, from the view alone."""

    def invert(self, smashed: Tensor) -> Tensor:
        """Reconstruct the inputs.

        Args:
            smashed: ``(N, *smashed.shape)`` as it arrived at the server.

        Returns:
            ``(N, C, H, W)`` float32 in [0, 1].
        """
        if not self.reconstructs:
            raise NotImplementedError(f"{type(self).__name__} lacks invert()")
        return self.invert_releases(smashed[None])

    def invert_releases(self, releases: Tensor) -> Tensor:
        """Reconstruct from releases of each input, ``(n_releases, N, *smashed.shape)``; the first unless overridden."""
        return self.invert(releases[0])

    def identify(self, releases: Tensor, candidates: Tensor) -> Tensor:
        """Score how likely each candidate is to be the input behind what arrived.

        Unless overridden, the reconstruction is compared with the candidates: the score is the squared L2 distance in
        pixels, or the number of tokens that differ, negative.

        Args:
            releases: ``(n_releases, N, *smashed.shape)``, the releases of each input.
            candidates: ``(M, *input.shape)`` float32 in [0, 1], on the device of the attacker.

        Returns:
            ``(N, M)``, greatest for the candidate that is most likely; equal scores are candidates not told apart.
        """
        return -distances(self.invert_releases(releases), candidates)


def unbiased(attack: Attack, view: View) -> Attack:
    """The attack, fitted without the images that `cutlayer.attacks.queries.apart` puts aside."""
    return fitted(attack, view if attack.keeps_apart else apart(view)[0])


def fitted(attack: Attack, view: View) -> Attack:
    """The attack, fitted to the view; an equal one that was fitted to the same view before takes its place."""

    def fit() -> Attack:
        attack.fit(view)
        return attack

    return view.kept((type(attack), repr(attack)), fit)
