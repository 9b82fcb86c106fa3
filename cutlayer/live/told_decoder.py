"""A decoder that is told the defense and its strength: one network for all that a device may switch.

    g* = argmin  E over (defense, strength) and x of  ||g(wire(x), defense, strength) - x||^2

A decoder that was trained behind one strength is poor behind another, and one for each would take minutes after every
move of a slider. So the network learns behind all of them at once: each part of a batch is released behind a defense
and a strength that are drawn anew, and planes beside the smashed data say which they are. What arrives is divided by
the spread that it has behind that defense, so that noise of any strength reaches the network with values of about 1.
Threat model: the attacker queries head and defense with its own images, and knows defense and strength, which every
request states.

The network is small, because it is trained on one slow thread while the room is open, and works at the resolution of
the smashed data: residual blocks without normalization (for batches mix many defenses), and a last layer that gives
the pixels of each place (Lim et al., EDSR, CVPRW 2017; Shi et al., ESPCN, CVPR 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from cutlayer.attacks.queries import varied
from cutlayer.edge.wishes import SWITCHABLE, Wish, checked, knob
from cutlayer.live.local_ridge import fits

PLAIN_SHARE = 0.3
"""Share of the images that are released without a switched defense while the decoder is trained."""
HELD_OUT = 128
"""Images by which the outcome is measured, which it does not learn from."""

Release = Callable[[Tensor, Wish], Tensor]
"""Images, ``(N, C, H, W)``, and a defense, to what arrives at the server."""


@dataclass(frozen=True)
class Settings:
    """How a decoder is built and trained; part of the key under which it is kept.

    Attributes:
        width: Channels of the network.
        blocks: Residual blocks.
        steps: Steps of training.
        batch: Images of a step.
        parts: Parts of a batch, each behind a defense of its own.
        lr: Adam's learning rate at its highest; it falls to zero along a cosine.
    """

    width: int = 48
    blocks: int = 3
    steps: int = 700
    batch: int = 32
    parts: int = 4
    lr: float = 3e-3


class Network(nn.Module):
    """From smashed data and the planes of a wish to an image.

    Args:
        smashed: ``(C, h, w)``.
        image: ``(C, H, W)``; each place of the smashed data has a block of its own, see `local_ridge.fits`.
        settings: Width and depth.
    """

    def __init__(self, smashed: Sequence[int], image: Sequence[int], settings: Settings) -> None:
        super().__init__()
        width, block = settings.width, image[1] // smashed[1]
        self.first = nn.Conv2d(smashed[0] + N_PLANES, width, 3, padding=1)
        self.body = nn.ModuleList(_Block(width) for _ in range(settings.blocks))
        self.last = nn.Conv2d(width, image[0] * block * block, 3, padding=1)
        self.shuffle = nn.PixelShuffle(block)
        self.center = nn.Buffer(torch.zeros(smashed[0], 1, 1))
        self.variance = nn.Buffer(torch.ones(smashed[0], 1, 1))

    def forward(self, smashed: Tensor, wishes: Tensor) -> Tensor:
        """``(N, C, h, w)`` and ``(N, 1 + N_PLANES)`` of `described` to ``(N, C, H, W)``, not clipped."""
        noise, planes = wishes[:, :1, None, None], wishes[:, 1:, None, None]
        scaled = (smashed - self.center) / (self.variance + noise).sqrt()
        x = self.first(torch.cat([scaled, planes.expand(-1, -1, *smashed.shape[2:])], 1))
        for block in self.body:
            x = block(x)
        image: Tensor = self.shuffle(self.last(torch.relu(x)))
        return image + 0.5


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.two.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.two(torch.relu(self.one(torch.relu(x))))
        return out


N_PLANES = len(SWITCHABLE)


def described(wish: Wish) -> list[float]:
    """The variance of added noise, then for each switchable defense how strong it is, 0 to about 1."""
    noise = 0.0
    if wish.defense == "gaussian-noise":
        noise = wish.value**2
    if wish.defense == "laplace-noise":
        noise = 2 * wish.value**2
    planes = [_level(wish) if name == wish.defense else 0.0 for name in SWITCHABLE]
    return [noise, *planes]


def _level(wish: Wish) -> float:
    if wish.defense in ("gaussian-noise", "laplace-noise"):
        return math.log1p(4 * wish.value) / math.log1p(4 * SWITCHABLE[wish.defense][-1])
    if wish.defense == "quantize":
        return max(0.0, (9 - wish.value) / 8) if wish.value else 0.0
    return math.log1p(-min(wish.value, 0.999)) / math.log(0.001)


def drawn(rng: np.random.Generator) -> Wish:
    """A defense and a strength, as a person at a slider might choose them."""
    if rng.random() < PLAIN_SHARE:
        return Wish()
    name = str(rng.choice(list(SWITCHABLE)))
    steps = SWITCHABLE[name][1:]
    if name == "quantize":
        value = float(rng.choice(steps))
    elif name in ("dropout", "top-k"):
        value = 1 - math.exp(rng.uniform(math.log(1 - steps[-1]), math.log(0.8)))
    else:
        value = math.exp(rng.uniform(math.log(steps[0] / 2), math.log(steps[-1])))
    return Wish(name, checked(name, {knob(name): value}))


def usable(input: tuple[int, ...], smashed: tuple[int, ...]) -> bool:
    """Whether the network fits such a split."""
    return fits(input, smashed)


class ToldDecoder:
    """The decoder of one split. `train` gives an improving network from the first steps on.

    Args:
        input: ``(C, H, W)``.
        smashed: ``(C, h, w)``.
        settings: See `Settings`.
        seed: Seed of weights and training.
    """

    plain_words = "a neural network that is told the defense and its strength"

    def __init__(
        self, input: tuple[int, ...], smashed: tuple[int, ...], settings: Settings | None = None, seed: int = 0
    ) -> None:
        self.settings, self._seed = settings or Settings(), seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = Network(smashed, input, self.settings)

    @torch.inference_mode()
    def invert(self, smashed: Tensor, wishes: Sequence[Wish]) -> Tensor:
        """``(N, *smashed.shape)``, each behind its wish, to ``(N, C, H, W)`` in [0, 1]."""
        image: Tensor = self.network(smashed, torch.tensor([described(wish) for wish in wishes]))
        return image.clamp(0, 1)

    def train(self, images: Tensor, release: Release, tell: Callable[[float, dict[str, Tensor]], None]) -> None:
        """Train; `tell` gets the share of the work that is done, and the weights so far, now and then.

        Args:
            images: The attacker's own, ``(N, C, H, W)``.
            release: What arrives for images behind a defense, with fresh draws.
            tell: Called some thirty times.
        """
        settings, network = self.settings, self.network
        rng, generator = np.random.default_rng(self._seed), torch.Generator().manual_seed(self._seed)
        plain = release(images[:256], Wish())
        network.center.copy_(plain.mean((0, 2, 3))[:, None, None])
        network.variance.copy_(plain.var((0, 2, 3))[:, None, None].clamp_min(1e-6))
        optimizer = torch.optim.Adam(network.parameters(), settings.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, settings.steps, pct_start=0.1)
        each, part = max(1, settings.steps // 30), settings.batch // settings.parts
        own: Tensor = images
        for step in range(settings.steps):
            rows = torch.randint(len(images), (settings.batch,), generator=generator)
            own = varied(images[rows], generator)
            wishes = [drawn(rng) for _ in range(settings.parts)]
            arrived = torch.cat([release(own[i * part : (i + 1) * part], wish) for i, wish in enumerate(wishes)])
            told = torch.tensor([described(wish) for wish in wishes for _ in range(part)])
            loss = mse_loss(network(arrived, told), own)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if (step + 1) % each == 0 or step + 1 == settings.steps:
                tell((step + 1) / settings.steps, self.weights())

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights."""
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def load(self, weights: Mapping[str, Any]) -> None:
        """Take weights that `weights` gave."""
        self.network.load_state_dict(dict(weights))
