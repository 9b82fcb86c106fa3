"""Sliding model inversion: a strip of sound longer than the victim's window, searched window by window.

K. Pizzi, F. Boenisch, U. Sahin, K. Böttinger, "Introducing Model Inversion Attacks on Automatic Speaker Recognition",
SPSC 2022, https://arxiv.org/abs/2301.03206. A recognizer of speakers hears a window of some tenths of a second. Each
window is searched on its own in the plain attack; here windows overlap, and each starts with what the one before has
found of the time that they share, so that the windows of a class are one piece of sound.

Differs from the paper, of which the abstract and citations were at hand: the victim hears spectrograms, whose last axis
is the time, in place of samples; the search is that of `mi-face`, Adam on the cross-entropy; what two windows share is
free in the second search as well, and the second one's values stay. The k samples that are shown of a class are the k
windows of its strip.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.answers.augment import Augment
from cutlayer.attacks.answers.base import ClassAttack
from cutlayer.attacks.answers.losses import LOSSES
from cutlayer.attacks.answers.objective import Objective
from cutlayer.attacks.answers.prior_of import prior_of
from cutlayer.attacks.answers.steps import adam
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.errors import ConfigError, near
from cutlayer.options import Count, LearningRate, Share, Weight

STARTS = ("mean-image", "pixels")
"""Priors whose latent vector is the image itself."""


@dataclass(kw_only=True)
class SlidingInversion(ClassAttack):
    """Search overlapping windows of one long spectrogram for each class, each from the end of the one before.

    Args:
        prior: What a window that nothing is known of starts at: ``pixels`` (grey) or ``mean-image``.
        overlap: The share of a window that it has in common with the one before.
        steps: Steps of the search of each window.
        lr: Learning rate.
        penalty: Factor of the total variation of a window.
    """

    plain_words = "searches a piece of sound that the model takes for a speaker, window by window"
    needs = Reply.WEIGHTS

    prior: str = "mean-image"
    overlap: Share = 0.5
    steps: Count = 150
    lr: LearningRate = 0.02
    penalty: Weight = 0.0

    def __post_init__(self) -> None:
        if self.prior not in STARTS:
            raise ConfigError(f"A window goes on from the pixels of another one; {near(self.prior, STARTS)}")

    def represent(self, view: ClassView, k: int) -> Tensor:
        """See the base; the windows are those of one strip, in the order of time."""
        prior = prior_of(view, self.prior)
        width = view.input.shape[-1]
        step = max(1, round(width * (1 - self.overlap)))
        y = torch.tensor(view.targets, device=view.device)
        random = torch.Generator().manual_seed(view.seed)
        objective = Objective(
            networks=(view.model,),
            prior=prior,
            y=y,
            loss=LOSSES["cross-entropy"],
            random=random,
            augment=Augment(),
            penalty=self.penalty,
        )
        strip = torch.zeros(len(y), *view.input.shape[:-1], step * (k - 1) + width, device=view.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)  # of networks that draw as they compute
            for first in range(0, step * k, step):
                window, known = strip[..., first : first + width], width - step if first else 0
                fresh = prior.image(prior.sample(len(y), y, random), y)
                start = torch.cat([window[..., :known], fresh[..., known:]], -1)
                found = adam(objective, start.flatten(1), random, self.steps, lr=self.lr)
                window.copy_(prior.image(found, y))
        windows = strip.unfold(-1, width, step).movedim(-2, 1)
        return windows.detach().clamp(0, 1).contiguous().cpu()
