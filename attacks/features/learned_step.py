"""Learned step: networks that correct a decoder's picture from what it leaves unexplained, one after the other.

    x_{k+1} = x_k + U_k(x_k, x_0, g_k, v - head(x_k)),      g_k = gradient of the misfit of x_k,      x_0 = d(v)

A decoder sees what arrived once, and never finds out what its picture would have sent. Here it is told: each step has
the difference to what arrived, and the direction in which the head says that the picture should change, and a network
has learned how far to follow it. This is learned gradient descent (Andrychowicz et al., NeurIPS 2016; Adler, Oktem,
"Solving ill-posed inverse problems using iterative deep neural networks", Inverse Problems, 2017) through the victim's
own head.

Threat model: the attacker holds the head's weights and the defense's code and settings, not its random draws, and
images like the victims'. Defense-aware: the steps learn from what is on the wire, with noise drawn for each picture.

Differs from the papers: every step has weights of its own, and each learns by its own error, so that no gradient passes
through the head's gradient. The steps learn from variations of the attacker's images beside these images themselves
(`cutlayer.attacks.queries.varied`): on those the decoder, which was trained on the images, errs about as it errs on a
victim's. The epoch is chosen on held-out images, and so is the number of steps: 0 where none surely helps, and the
attack then answers as the decoder does. Around `map` a single step is a denoiser of what the search found.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from cutlayer.attacks.base import fitted
from cutlayer.attacks.features.misfit import Misfit, suitable
from cutlayer.attacks.features.white_box import freeze
from cutlayer.attacks.queries import HELD_OUT, release, releases, squared_errors, surely_less, varied, with_held_out
from cutlayer.attacks.view import Access, View
from cutlayer.attacks.wrapping import Wrapping
from cutlayer.machine.compute import autocast
from cutlayer.nets.corrector import Corrector
from cutlayer.options import Batch, Count, LearningRate, Size, Whole
from cutlayer.progress import note, track

MEASURED = 512
"""Images, at most, by which the epoch and the number of steps are chosen."""
CHUNK = 256
"""Images corrected together; bounds the memory."""


@dataclass(kw_only=True)
class LearnedStep(Wrapping):
    """Train networks that improve the picture of another attack step by step.

    Args:
        attack: Name of the attack that gives the picture to begin with.
        options: Options of that attack; None for its defaults.
        corrections: Corrections, one after the other.
        width: Channels of each network.
        blocks: Residual blocks of each network.
        n_auxiliary: The attacker's images from which the networks learn; 0 for all. The first attack inverts each.
        variations: Variations of each of the attacker's images from which the networks learn, beside the image itself.
        epochs: Passes over images and variations.
        lr: Adam's learning rate at its highest; it falls to zero along a cosine.
        batch: Images per step of the training.
    """

    plain_words = "networks that correct a decoder's picture by what it would have sent"
    rebuilds = ("image",)
    needs = Access.WHITE_BOX
    steps_option = "epochs"
    least_steps = 4

    corrections: Count = 3
    width: Size = 48
    blocks: Count = 2
    n_auxiliary: Whole = 0
    variations: Whole = 1
    epochs: Count = 6
    lr: LearningRate = 4e-3
    batch: Batch = 32

    def fit(self, view: View) -> None:
        """Fit the first attack, then train the corrections together."""
        self._inner, self._device = fitted(self._inner, view), view.device
        generator = torch.Generator().manual_seed(view.seed)
        images, training = with_held_out(view, 0, HELD_OUT)
        own, unseen = images[:training][: self.n_auxiliary or training], images[training:][:MEASURED]
        self._head = freeze(view.head).to(view.device)
        self._kind = suitable(view.defense, release(view.query, images[:1]))[-1]
        self._misfit = Misfit((self._kind,), own[:CHUNK].to(view.device), view)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)
            shape = view.smashed.shape, view.input.shape, 3, self.width, self.blocks
            networks = nn.ModuleList(Corrector(*shape) for _ in range(self.corrections))
        networks.to(view.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._networks = networks
        held_out, seen = unseen.to(view.device), releases(view, unseen, self.n_releases)
        optimizer = torch.optim.Adam(networks.parameters(), self.lr)
        n_steps = self.epochs * -(-len(own) * (1 + self.variations) // self.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        begun = self._inner.invert_releases(seen)
        alone = least = squared_errors(begun, held_out)
        self._n, best = 0, copy.deepcopy(networks.state_dict())
        learned = torch.cat([own, *(varied(own, generator) for _ in range(self.variations))])
        arrived, learned = releases(view, learned, self.n_releases), learned.to(view.device)
        starts = self._inner.invert_releases(arrived)
        for _ in track(range(self.epochs), "training the corrections"):
            networks.train()
            rows_of = torch.randperm(len(learned), generator=generator).to(view.device)
            for rows in track(rows_of.split(self.batch)):
                x = starts[rows]
                loss = torch.zeros((), device=view.device)
                for k in range(self.corrections):
                    x = self._step(k, x.detach(), starts[rows], arrived[:, rows])
                    loss = loss + mse_loss(x, learned[rows])
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
            networks.eval()
            path = self._path(begun, seen, self.corrections)
            errors = [squared_errors(x, held_out) for x in path]
            n = min(range(len(errors)), key=lambda k: float(errors[k].mean()))
            note(f"error on held-out images {errors[n].mean():.4f}")
            if errors[n].mean() < least.mean():
                least, best, self._n = errors[n], copy.deepcopy(networks.state_dict()), n
        if not surely_less(least, alone):
            self._n = 0
        networks.load_state_dict(best)
        networks.eval()

    def invert_releases(self, releases: Tensor) -> Tensor:
        """``(n_releases, N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        observed = releases.to(self._device)
        path = self._path(self._inner.invert_releases(observed), observed, self._n)
        return path[-1].clamp(0, 1).to(releases.device)

    @torch.no_grad()
    def _path(self, starts: Tensor, releases: Tensor, n: int) -> list[Tensor]:
        """The picture of the first attack, then that after each of n corrections, ``(N, C, H, W)`` each."""
        path = [starts]
        for k in range(n):
            parts = zip(*(part.split(CHUNK) for part in (path[-1], starts)), releases.split(CHUNK, dim=1), strict=True)
            path.append(torch.cat([self._step(k, *part).float() for part in parts]))
        return path

    def _step(self, k: int, x: Tensor, start: Tensor, releases: Tensor) -> Tensor:
        """The picture after the k-th correction, ``(N, C, H, W)``; gradients flow to the weights of the k-th alone."""
        with torch.enable_grad():
            guess = x.clamp(0, 1).requires_grad_()
            output = self._head(guess)
            (gradient,) = torch.autograd.grad(self._misfit(self._kind, output, releases).sum(), guess)
        unexplained = self._misfit.unexplained(output.detach(), releases)
        with autocast(x.device):
            correction = self._networks[k](torch.cat([guess.detach(), start, gradient], dim=1), unexplained)
        corrected: Tensor = x + correction.float()
        return corrected
