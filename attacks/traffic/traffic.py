"""Traffic: what the length of an encrypted message says of the picture in it.

TLS and CURVE hide the bytes of a message and not their number. With a codec whose output depends on the content (zstd,
top-k, which sends no zeros) two pictures of one size become messages of different lengths, and who reads the link
tells them apart. Of a list of candidates the attacker takes the one whose own length is nearest. It rebuilds the mean
of those of its own pictures that have about the same length: a poor picture, which shows what else is given away.

Threat model: an eavesdropper who runs a client of the same split, so that it knows the lengths of its own pictures. It
holds no key, no smashed data of the victims, and no tail.

Length alone has identified web pages behind TLS for long (Cheng and Avnur, "Traffic analysis of SSL encrypted web
browsing", 1998; Dyer, Coull, Ristenpart, Shrimpton, "Peek-a-Boo, I Still See You", IEEE S&P 2012, who find that padding
to a common length is what helps). We know of no paper on the messages of split inference. Kernel regression is due to
Nadaraya, "On estimating regression", 1964.

Times are not used: a device sends when its picture is there, and not when the content suggests it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.queries import release, with_held_out
from cutlayer.attacks.view import LENGTHS, Access, View
from cutlayer.errors import ConfigError
from cutlayer.options import Count

IMAGES = 4096
"""The attacker's own pictures whose lengths it tabulates, at most."""
HELD_OUT = 0.1
"""Share of them by which the width of the kernel is chosen."""
WIDTHS = 8
"""Widths that are tried, each twice the one before, up to the spread of all lengths; the mean picture is tried too."""


@dataclass(kw_only=True)
class Traffic(Attack):
    """Compare the lengths of messages with those of pictures that the attacker knows.

    Args:
        n_releases: Messages of one input that the attacker waits for; their mean length is taken.
        n_queries: Messages of each of its own pictures, where the defense is random.
    """

    plain_words = "sees no more than how long each encrypted message is"
    needs = Access.BLACK_BOX
    sees = LENGTHS

    n_releases: Count = 1
    n_queries: Count = 16

    def fit(self, view: View) -> None:
        """Tabulate the lengths of the attacker's own pictures, and choose how many of them to average."""
        if view.smashed.shape != (1,):
            raise ConfigError(f"traffic observes the length of each message, and not {view.smashed}.")
        self._view, self._query = view, view.query
        images, n_fit = with_held_out(view, IMAGES, HELD_OUT)
        lengths = self._lengths(images, self.n_queries)
        self._shape, pixels = images.shape[1:], images.flatten(1)
        self._known, self._pixels, self._width = lengths[:n_fit], pixels[:n_fit], float("inf")
        truth, arrived = pixels[n_fit:], self._lengths(images[n_fit:], self.n_releases)
        spread = float(lengths.std()) or 1.0
        errors = {}
        for width in (float("inf"), *(spread / 2**k for k in range(WIDTHS))):
            self._width = width
            errors[width] = float((self._mean_at(arrived) - truth).square().mean())
        self._width = min(errors, key=lambda width: errors[width])

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, 1)``, the length of one message of each input -> ``(N, C, H, W)``."""
        return self.invert_releases(smashed[None])

    def invert_releases(self, releases: Tensor) -> Tensor:
        """``(n_releases, N, 1)`` -> ``(N, C, H, W)``."""
        pixels = self._mean_at(_mean(releases)).clamp(0, 1)
        return pixels.reshape(-1, *self._shape).to(releases.device)

    def identify(self, releases: Tensor, candidates: Tensor) -> Tensor:
        """``(n_releases, N, 1)`` and ``(M, *input.shape)`` -> ``(N, M)``: the nearer the lengths, the greater."""
        lengths = self._lengths(candidates, self.n_queries)
        return -(_mean(releases)[:, None] - lengths).square()

    def _lengths(self, images: Tensor, n: int) -> Tensor:
        """The mean length of n messages of each image, ``(N,)`` float64 on the CPU."""
        n = n if self._view.random else 1
        return _mean(torch.stack([release(self._query, images) for _ in range(n)]))

    def _mean_at(self, lengths: Tensor) -> Tensor:
        """The mean of the known pictures, weighed by how near their lengths come: ``(N,)`` -> ``(N, pixels)``."""
        distances = (lengths[:, None] - self._known) / self._width
        return torch.softmax(-distances.square() / 2, dim=1).float() @ self._pixels


def _mean(releases: Tensor) -> Tensor:
    """``(n_releases, N, 1)`` -> ``(N,)`` float64 on the CPU."""
    return releases.detach().cpu().double().mean(dim=0).flatten()
