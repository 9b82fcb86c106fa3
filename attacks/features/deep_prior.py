"""Deep prior: an untrained network makes the image, and its weights are searched until it would have sent what arrived.

    theta* = argmin  misfit(head(G_theta(z)), v)  +  tv * TV(G_theta(z)),      x* = G_theta*(z),      z fixed and random

A convolutional network needs many more steps to make noise than to make an image, so a search over its weights finds an
image among all inputs that explain what arrived, without one image to learn from (Ulyanov et al., "Deep Image Prior",
CVPR 2018). Against split inference: A. Singh et al., "DISCO: Dynamic and Invariant Sensitive Channel Obfuscation for
Deep Neural Networks", CVPR 2021, https://arxiv.org/abs/2012.11025, as "likelihood maximization"; A. Singh et al.,
SIMBA, "Simba: Split Inference - Mechanisms, Benchmarks and Attacks", ECCV 2024, code
github.com/aidecentralized/InferenceBenchmark; settings as in github.com/ntuaislab/DRAG @32ffd8c: Adam at 1e-2, 20,000
steps, noise on z of 5, 1 and 0.5 standard deviations until 50, 75 and 87.5 % of the steps, total variation 0.05.

Threat model: the attacker holds the head's weights and the defense's code and settings, not its random draws. Its own
images choose the setting; a single setting needs them only for the scale of the misfit.

Differs from the papers:

- Each image has its own weights, and all are searched in one batch. They begin with the same weights, z and noise, so
  that the result of an image does not depend on the others.
- The picture kept is the one of the least loss after the noise has ended. SIMBA keeps the picture that is most like the
  truth, which no attacker knows.
- The distance is one of `cutlayer.attacks.features.misfit` (theirs: cosine), and TV is that of squared differences.
- Misfit, weight of TV and strength of the noise are rehearsed on images of the attacker's own.
- The network is `cutlayer.nets.skip`, for small images, and the default is 400 steps. `iterations = 20000` is theirs.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.misfit import MISFITS, PRECONDITIONED, Misfit, suitable
from cutlayer.attacks.features.white_box import freeze, remaining, total_variation
from cutlayer.attacks.queries import apart, release
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.machine.compute import autocast
from cutlayer.nets.skip import INPUTS, skip
from cutlayer.options import Count, LearningRate, Size, Weight
from cutlayer.progress import track

CHUNK = 64
"""Images searched together; the weights of each are in memory three times."""
MEASURED = 256
"""Images, at most, from which the scale of the misfit is measured."""
NOISE = ((0.5, 5.0), (0.75, 1.0), (0.875, 0.5))
"""Standard deviation of the noise on z until each share of the steps, and none afterwards (DRAG, configuration)."""


@dataclass(kw_only=True)
class DeepPrior(Attack):
    """Search the weights of an untrained network whose picture would have sent what arrived.

    Args:
        iterations: Adam steps (paper: 20,000).
        lr: Adam's learning rate on the weights.
        widths: Channels of each level of the network, from full resolution downwards (DRAG: 16, 32, 64, 128).
        tv: Weights of total variation to rehearse.
        noise: Strengths to rehearse of the noise on the network's input: 1 for that of the papers, 0 for none.
        misfit: Ways to rehearse of comparing smashed data; see `cutlayer.attacks.features.misfit`. If empty, ``plain``
            and what suits the defense.
        rehearsal: Images inverted with every setting to choose one; with a single setting none are.
    """

    plain_words = "shapes an untrained network until its picture would have sent the same numbers"
    rebuilds = ("image",)
    needs = Access.WHITE_BOX
    keeps_apart = True
    steps_option = "iterations"
    least_steps = 50

    iterations: Count = 400
    lr: LearningRate = 1e-2
    widths: tuple[Size, ...] = (16, 32, 64)
    tv: tuple[Weight, ...] = (0.01, 0.1)
    noise: tuple[Weight, ...] = (0.0, 0.2)
    misfit: tuple[str, ...] = ()
    rehearsal: Count = 4

    def __post_init__(self) -> None:
        if unknown := set(self.misfit) - set(MISFITS):
            raise ConfigError(f"deep-prior.misfit must be of {', '.join(MISFITS)}, not {min(unknown)!r}.")
        for name in ("widths", "tv", "noise", "misfit"):
            setattr(self, name, tuple(getattr(self, name)))  # TOML writes lists
        if not self.widths:
            raise ConfigError("deep-prior.widths must name the channels of one level or more; none was given.")

    @property
    def rescales_misfit(self) -> bool:
        """Whether one of the misfits to rehearse is rescaled."""
        return not self.misfit or not set(self.misfit).isdisjoint(PRECONDITIONED)

    def fit(self, view: View) -> None:
        """Draw the network's first weights and its input; choose the setting on the attacker's own images."""
        self._head = freeze(view.head).to(view.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device, self._seed, self._image = view.device, view.seed, view.input.shape
        images = apart(view)[1][:MEASURED].to(view.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)
            self._network = skip(view.input.shape, self.widths).to(view.device)
            self._z = torch.randn(1, INPUTS, *view.input.shape[1:]).to(view.device)
        kinds = self.misfit or ("plain", *suitable(view.defense, release(view.query, images[:1].cpu())))
        self._misfit = Misfit(kinds, images, view)
        self._setting = kinds[0], self.tv[0], self.noise[0]
        if len(kinds) * len(self.tv) * len(self.noise) > 1:
            few = slice(self.rehearsal)
            self._setting = self._rehearse(kinds, images[few], self._misfit.smashed[few])

    def _rehearse(self, kinds: tuple[str, ...], images: Tensor, smashed: Tensor) -> tuple[str, float, float]:
        """The setting that comes nearest to images that the attacker knows."""
        grid = list(itertools.product(self.tv, self.noise))
        each = torch.tensor(grid).repeat_interleave(len(images), dim=0)
        smashed = smashed.repeat(len(grid), *[1] * (smashed.ndim - 1))
        errors: dict[tuple[str, float, float], float] = {}
        for kind in kinds:
            guesses = self._search(smashed, kind, each[:, 0], each[:, 1])
            error = (guesses.reshape(len(grid), *images.shape) - images).square().flatten(1).mean(dim=1)
            errors |= {(kind, *setting): float(mean) for setting, mean in zip(grid, error, strict=True)}
        return min(errors, key=lambda setting: errors[setting])

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        kind, *setting = self._setting
        tv, noise = (torch.full((len(smashed),), value) for value in setting)
        return self._search(smashed.to(self._device), kind, tv, noise).to(smashed.device)

    def _search(self, smashed: Tensor, kind: str, tv: Tensor, noise: Tensor) -> Tensor:
        parts = zip(*(part.split(CHUNK) for part in (smashed, tv.to(smashed), noise.to(smashed))), strict=True)
        return torch.cat([self._optimize(kind, *part) for part in parts])

    def _optimize(self, kind: str, smashed: Tensor, tv: Tensor, noise: Tensor) -> Tensor:
        """Run Adam on the weights of one batch; each image has its own weight of TV and strength of the noise."""
        n, random = len(smashed), torch.Generator().manual_seed(self._seed)
        weights = {
            name: weight.detach().expand(n, *weight.shape).clone().requires_grad_()
            for name, weight in self._network.named_parameters()
        }
        optimizer = torch.optim.Adam(list(weights.values()), self.lr)
        best = torch.zeros(n, *self._image, device=smashed.device)
        least = torch.full((n,), torch.inf, device=smashed.device)
        for step in track(range(self.iterations), "searching the weights of the networks"):
            optimizer.param_groups[0]["lr"] = self.lr * remaining(step, self.iterations)
            std = next((std for share, std in NOISE if step < share * self.iterations), 0.0)
            drawn = torch.randn(self._z.shape, generator=random).to(self._z)
            z = self._z + std * noise.view(-1, 1, 1, 1) * drawn
            # Whitening magnifies the rounding of bfloat16 with all else that is faint.
            with autocast(smashed.device, enabled=kind != "whitened"):
                x = vmap(self._picture)(weights, z)
                output = self._head(x)
            x = x.float()
            loss = self._misfit(kind, output.float(), (smashed,)) + tv * total_variation(x)
            best = torch.where((loss.detach() < least).view(-1, 1, 1, 1), x.detach(), best)
            if not std:  # the least loss of a picture without noise; until there is one, the last picture is the best
                least = torch.minimum(loss.detach(), least)
            optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()
            optimizer.step()
        return best

    def _picture(self, weights: dict[str, Tensor], z: Tensor) -> Tensor:
        """The picture of one network, ``(C, H, W)``."""
        pictures: Tensor = functional_call(self._network, weights, (z[None],))
        return pictures[0]
