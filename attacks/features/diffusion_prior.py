"""Diffusion prior: a network that knows images removes noise step by step, and each step is guided by what arrived.

    x_s = alpha_s x_0(x_t) + sqrt(sigma_s^2 - std^2) eps(x_t) + d,        s < t
    d   = |d| in the direction of  (1 - rate) noise - rate g,             |d| = std sqrt(pixels)
    g   = gradient in x_t of  misfit(head(x_0(x_t)), v) + tv TV(x_0),     clipped, then smoothed by Adam

W.-C. Lei et al., "DRAG: Data Reconstruction Attack using Guided Diffusion", ICML 2025, code
github.com/ntuaislab/DRAG @32ffd8c: DDIM steps (J. Song et al., ICLR 2021, eta 1) whose noise keeps its length and is
turned towards the guidance (spherical Gaussian constraint, L. Yang et al., ICML 2024), each repeated after fresh noise
(self-recurrence). Their settings: 250 steps of 16 repetitions, rate 0.2, norm of the gradient at most 0.02, total
variation 0.1. With `strength` below 1 the walk begins at the picture of another attack with so much noise: DRAG++, 0.3.

Where the head is far from linear, a gradient that passes the prior says little, and so there is a second guidance: of
the picture without noise itself, by steps of Adam whose size is that of the noise which is left (proximal; Y. Zhu et
al., "Denoising Diffusion Models for Plug-and-Play Image Restoration", CVPR workshop NTIRE 2023, eq. 13).

Threat model: the attacker holds the head's weights and the defense's code and settings, not its random draws, and
images like the victims', of which the network learns what an image is.

Differs from the paper:

- The prior is learned from the attacker's own images (`cutlayer.nets.diffusion`); theirs is a published network.
- Guidance, strength, rate and distance are rehearsed on held-out images. Where no setting is surely better than the
  picture of the attack that it begins with, it answers as that one does. ``attack = "mean-image"`` with a strength of 1
  and the guidance ``gradient`` is DRAG without a start.
- The answer is the mean of several walks. A walk is a draw of what the image may be, and the mean of draws is nearer.
- The learning rate of the prior follows one cycle, in place of a moving average of its weights. There is no L2 term.
"""

import itertools
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from cutlayer.attacks.base import fitted
from cutlayer.attacks.features.misfit import MISFITS, PRECONDITIONED, Misfit
from cutlayer.attacks.features.white_box import freeze, total_variation
from cutlayer.attacks.queries import apart, squared_errors, surely_less
from cutlayer.attacks.view import Access, View
from cutlayer.attacks.wrapping import Wrapping
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError
from cutlayer.machine.compute import autocast
from cutlayer.nets.diffusion import Denoiser, scales
from cutlayer.nets.remembered import remembered
from cutlayer.options import Count, Epochs, Share, Size, Weight
from cutlayer.progress import track
from cutlayer.training import optimize

CHUNK = 128
"""Walks at a time; bounds the memory."""
MEASURED = 256
"""Images, at most, from which the scale of the misfit is measured."""
BATCH, LR = 64, 2e-3
"""Images in a step of the training of the prior, and its greatest learning rate."""
MOST_NORM = 0.02
"""The greatest norm of the gradient at one image (DRAG, configuration)."""
BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Decay rates by which Adam smooths the gradient, and the term that keeps its denominator above 0."""

GUIDANCES = ("proximal", "gradient")
Setting = tuple[str, str, float, float]
"""Guidance, misfit, strength and rate."""


@dataclass(kw_only=True)
class DiffusionPrior(Wrapping):
    """Remove noise with a learned prior, guided through the head, from noise alone or from another attack's picture.

    Args:
        attack: Name of the attack whose picture the walk begins at, and that answers where the walk does not help.
        options: Options of that attack; None for its defaults.
        steps_down: Strengths of the noise between the first and none (DRAG: 250).
        repetitions: Times that each is passed (DRAG: 16), or steps of Adam on the picture at each.
        guidance: Ways to rehearse of following the head: ``gradient`` turns the noise of each step, as DRAG does, and
            ``proximal`` changes the picture without noise.
        strength: Shares of the noise to rehearse with which the walk begins; 1 is noise alone (DRAG++: 0.3).
        rate: Strengths to rehearse of the guidance: its share in the noise of a step (DRAG: 0.2), or the learning rate
            on the picture, in standard deviations of its noise.
        tv: Weight of total variation.
        misfit: Ways to rehearse of comparing smashed data; see `cutlayer.attacks.features.misfit`.
        draws: Walks of which the mean is taken.
        width: Channels of the network at half resolution.
        prior_epochs: Passes over the attacker's images in the training of the network.
        rehearsal: Images inverted with every setting to choose one.
    """

    plain_words = "removes noise from a picture, guided by what was sent"
    rebuilds = ("image",)
    needs = Access.WHITE_BOX
    steps_option = "steps_down"
    least_steps = 10

    steps_down: Count = 40
    repetitions: Count = 3
    guidance: tuple[str, ...] = GUIDANCES
    strength: tuple[Share, ...] = (0.15, 0.3)
    rate: tuple[Share, ...] = (0.2, 0.6)
    tv: Weight = 0.0
    misfit: tuple[str, ...] = ("plain", "cosine")
    draws: Count = 2
    width: Size = 32
    prior_epochs: Epochs = 12
    rehearsal: Count = 32

    def __post_init__(self) -> None:
        for name in ("guidance", "strength", "rate", "misfit"):
            setattr(self, name, tuple(getattr(self, name)))  # TOML writes lists
            if not getattr(self, name):
                raise ConfigError(f"diffusion-prior.{name} must have a value or more; it is empty.")
        for name, known in (("guidance", GUIDANCES), ("misfit", MISFITS)):
            if unknown := set(getattr(self, name)) - set(known):
                raise ConfigError(f"diffusion-prior.{name} must be of {', '.join(known)}, not {min(unknown)!r}.")
        super().__post_init__()

    @property
    def rescales_misfit(self) -> bool:
        """Whether one of the misfits to rehearse is rescaled."""
        return not set(self.misfit).isdisjoint(PRECONDITIONED)

    def fit(self, view: View) -> None:
        """Fit the first attack, learn the prior, and choose the setting on images from which neither has learned."""
        self._device, self._seed = view.device, view.seed
        self._head = freeze(view.head).to(view.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Not the defender's seed: the attacker does not hold a prior of the defender's.
        self._network = prior(apart(view)[0].auxiliary, self.width, self.prior_epochs, view.seed + 1, view.device)
        self._misfit = Misfit(self.misfit, apart(view)[1][:MEASURED].to(view.device), view)
        self._setting = self._rehearse(*self.rehearsed(view, self.rehearsal))
        self._inner = fitted(self._inner, view)

    def _rehearse(self, images: Tensor, starts: Tensor, releases: Tensor) -> Setting | None:
        """The setting that comes nearest to images that the attacker knows; None where none surely helps."""
        errors = {
            setting: squared_errors(self._walks(setting, starts, releases), images)
            for setting in itertools.product(self.guidance, self.misfit, self.strength, self.rate)
        }
        best = min(errors, key=lambda setting: float(errors[setting].mean()))
        return best if surely_less(errors[best], squared_errors(starts, images)) else None

    def invert_releases(self, releases: Tensor) -> Tensor:
        """``(n_releases, N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        observed = releases.to(self._device)
        rebuilt = self._inner.invert_releases(observed)
        if self._setting is not None:
            rebuilt = self._walks(self._setting, rebuilt, observed)
        return rebuilt.to(releases.device)

    def _walks(self, setting: Setting, starts: Tensor, releases: Tensor) -> Tensor:
        """The mean of several walks from each picture, ``(N, C, H, W)`` in [0, 1]."""
        random = torch.Generator().manual_seed(self._seed)
        parts = list(zip(starts.split(CHUNK), releases.split(CHUNK, dim=1), strict=True))
        walks = [torch.cat([self._walk(setting, *part, random) for part in parts]) for _ in range(self.draws)]
        return torch.stack(walks).mean(dim=0)

    def _walk(self, setting: Setting, start: Tensor, releases: Tensor, random: torch.Generator) -> Tensor:
        """Walk from each picture with noise to one without; all images are given the same noise."""
        guidance, kind, strength, rate = setting

        def noise() -> Tensor:
            return torch.randn(start.shape[1:], generator=random).to(start)

        steps = max(1, math.ceil(self.steps_down * strength))
        times = torch.linspace(strength, 0, steps + 1)
        alphas, sigmas = (factor.tolist() for factor in scales(times))
        x = alphas[0] * (2 * start - 1) + sigmas[0] * noise()
        adam = _Adam(x)
        for k in track(range(steps), "removing the noise"):
            (alpha, sigma), (lower_alpha, lower_sigma) = (alphas[k], sigmas[k]), (alphas[k + 1], sigmas[k + 1])
            std = lower_sigma / sigma * math.sqrt(max(0.0, 1 - (alpha / lower_alpha) ** 2))
            if guidance == "proximal":
                clean = self._explained(self._clean(x, alpha, sigma, times[k]), rate * sigma, kind, releases)
                eps = (x - alpha * clean) / sigma
                x = lower_alpha * clean + math.sqrt(max(0.0, lower_sigma**2 - std**2)) * eps + std * noise()
                continue
            for repetition in range(self.repetitions):
                x = x.detach().requires_grad_()
                clean = self._clean(x, alpha, sigma, times[k])
                gradient = torch.autograd.grad(self._loss(clean, kind, releases), x)[0]
                step = adam(gradient * (MOST_NORM / _norm(gradient)).clamp(max=1))
                x, clean = x.detach(), clean.detach()
                length, eps = std * math.sqrt(x[0].numel()), (x - alpha * clean) / sigma
                turned = torch.lerp(std * noise(), -length * step / _norm(step), rate)
                x = lower_alpha * clean + math.sqrt(max(0.0, lower_sigma**2 - std**2)) * eps
                x = x + length * turned / _norm(turned)
                if repetition + 1 < self.repetitions:
                    ratio = alpha / lower_alpha
                    x = ratio * x + math.sqrt(max(0.0, 1 - ratio**2)) * noise()
        rebuilt: Tensor = ((x + 1) / 2).clamp(0, 1)
        return rebuilt

    def _clean(self, x: Tensor, alpha: float, sigma: float, t: Tensor) -> Tensor:
        """The mean of the images, in [-1, 1], that have become `x` at this time; with a gradient where `x` has one."""
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(x.requires_grad), autocast(x.device):
            v = self._network(x, t.to(x).expand(len(x)))
        clean: Tensor = alpha * x - sigma * v.float()
        return clean

    def _explained(self, clean: Tensor, lr: float, kind: str, releases: Tensor) -> Tensor:
        """The picture after some steps of Adam towards one that would have sent what arrived."""
        adam = _Adam(clean)
        for _ in range(self.repetitions):
            clean = clean.detach().requires_grad_()
            gradient = torch.autograd.grad(self._loss(clean, kind, releases), clean)[0]
            clean = clean.detach() - lr * adam(gradient)
        return clean

    def _loss(self, clean: Tensor, kind: str, releases: Tensor) -> Tensor:
        """What is to be small for pictures in [-1, 1], summed over them."""
        image = (clean + 1) / 2
        image = image + (image.clamp(0, 1) - image).detach()  # the head sees an image
        with torch.enable_grad(), autocast(clean.device, enabled=kind != "whitened"):
            output = self._head(image)
        return (self._misfit(kind, output.float(), releases) + self.tv * total_variation(image)).sum()


class _Adam:
    """The direction of Adam for gradients that come one after the other, each value by itself."""

    def __init__(self, like: Tensor) -> None:
        self._mean, self._square, self._n = torch.zeros_like(like), torch.zeros_like(like), 0

    def __call__(self, gradient: Tensor) -> Tensor:
        self._n += 1
        self._mean.lerp_(gradient, 1 - BETAS[0])
        self._square.lerp_(gradient.square(), 1 - BETAS[1])
        root = (self._square / (1 - BETAS[1] ** self._n)).sqrt() + EPSILON
        return self._mean / (1 - BETAS[0] ** self._n) / root


def _norm(x: Tensor) -> Tensor:
    """The norm of each image, ``(N, 1, 1, 1)``, and never 0."""
    return x.square().sum((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)


def prior(images: Dataset, width: int, epochs: int, seed: int, device: torch.device) -> Denoiser:
    """Train a denoiser on images in [0, 1], mirrored or not; the last few are remembered and copied.

    Args:
        images: ``(N, C, H, W)``; their labels do not matter.
        width: Channels at half resolution.
        epochs: Passes over the images; with 0 the network is untrained.
        seed: Seed of every random choice.
        device: Where to train, and where the network is afterwards, in eval mode and without gradients.
    """

    def trained() -> Denoiser:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Denoiser(images.inputs.shape[1:], width)
        optimize([network], images, partial(_loss, network), epochs=epochs, seed=seed, lr=LR, batch=BATCH, flip=True,
                 device=device)  # fmt: skip
        layout = torch.channels_last
        network.to(device, memory_format=layout)  # type: ignore[call-overload]
        return network.eval().requires_grad_(False)

    return remembered(("diffusion", width, epochs, seed, device), (torch.from_numpy(images.inputs),), trained)


def _loss(network: Denoiser, x: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
    """The error of v at times drawn at random; the noise comes from torch's generator, which `optimize` seeds."""
    x, noise, t = 2 * x - 1, torch.randn_like(x), torch.rand(len(x), device=x.device)
    alpha, sigma = (factor.view(-1, 1, 1, 1) for factor in scales(t))
    return mse_loss(network(alpha * x + sigma * noise, t).float(), alpha * noise - sigma * x)
