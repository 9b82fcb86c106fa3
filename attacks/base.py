"""What every attack is, and what it may touch.

The threat model is an object with missing parts: a `View` whose withheld capabilities are None. An attack that
reaches for one fails with `WithheldError`; it cannot cheat by accident.
"""

from __future__ import annotations

from torch import Tensor

from attacks.view import Access, View


class Attack:
    """Base of every attack: `fit` before any victim's data is seen, then `invert` what arrived.

    The constructor's arguments are the hyper-parameters, kept under their own names; `repr` prints them.
    """

    needs = Access.QUERY_FREE
    """The least access with which the attack can run."""

    n_releases = 1
    """Releases of one private input that the attack wants to observe."""

    def fit(self, view: View) -> None:
        """Prepare, from the view alone."""

    def invert(self, smashed: Tensor) -> Tensor:
        """Reconstruct the inputs.

        Args:
            smashed: ``(N, *smashed.shape)`` as it arrived at the server.

        Returns:
            ``(N, C, H, W)`` float32 in [0, 1].
        """
        raise NotImplementedError(f"{type(self).__name__} lacks invert()")

    def invert_releases(self, releases: Tensor) -> Tensor:
        """Reconstruct from releases of each input, ``(n_releases, N, *smashed.shape)``; the first unless overridden."""
        return self.invert(releases[0])

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({options})"
