"""Denoise first: clean the smashed data, then invert it with another attack.

    d* = argmin  (1/n) sum_i ||d(wire(x_i)) - mean_k wire_k(x_i)||^2

The lesson of "Measuring Data Reconstruction Defenses in Collaborative Inference Systems" (SFD, NeurIPS 2022): an
attacker who refines the features before inverting them undoes much of a defense. Threat model: the attacker queries the
device's head and defense with its own images, several times each; the mean of many answers is nearly free of fresh
noise, and is what a network learns to make of a single one. The wrapped attack is then fitted to cleaned smashed data.
Where the defense is not random there is nothing to clean, and where the cleaning does not clearly help on images that
neither network has seen, the wrapped attack runs alone.

Differs from the paper: its refinement needs the head's gradients, ours only queries. No code was published.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from cutlayer.attacks.queries import apart, release, squared_errors, surely_less
from cutlayer.attacks.view import Query, View
from cutlayer.attacks.wrapping import Wrapping
from cutlayer.machine.compute import autocast
from cutlayer.nets.grid import layout
from cutlayer.options import Batch, Count, LearningRate, Size
from cutlayer.progress import note, track

CHUNK = 512
"""Releases cleaned at a time; bounds the memory."""


@dataclass(kw_only=True)
class DenoiseFirst(Wrapping):
    """Run another attack on smashed data from which a network has removed the noise.

    Args:
        attack: Name of the attack that is run; it may need queries, and no more.
        options: Its options; None for its defaults.
        n_queries: Answers whose mean is the clean smashed data.
        width: Channels of the denoiser, or its hidden values where the smashed data is no grid.
        epochs: Passes over the attacker's images, with fresh noise in each.
        lr: Adam's learning rate at its highest.
        batch: Images per step.
    """

    plain_words = "removes the noise from what was sent, and hands the rest to another attack"
    steps_option = "epochs"
    least_steps = 2

    n_queries: Count = 16
    width: Size = 64
    epochs: Count = 10
    lr: LearningRate = 2e-3
    batch: Batch = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._only_black_box("denoise-first", "to average releases, wrap denoise-first in averaging")
        self._alone = self.another()

    def fit(self, view: View) -> None:
        """Train the denoiser; find out on held-out images whether the wrapped attack gains by it."""
        self._denoiser: nn.Module | None = None
        if not view.random:
            self._alone.fit(view)
            return
        rest, held_out = apart(view)
        denoiser = self._trained(rest, held_out)
        received = release(view.query, held_out, view.device)
        errors = []
        for attack, seen, smashed in (
            (self._alone, rest, received),
            (self._inner, rest.with_query(_cleaned(denoiser, view.query)), _clean(denoiser, received)),
        ):
            attack.fit(seen)
            errors.append(squared_errors(attack.invert(smashed).cpu(), held_out))
        if surely_less(errors[1], errors[0]):
            self._denoiser = denoiser
            self._inner.fit(view.with_query(_cleaned(denoiser, view.query)))
        else:
            self._alone.fit(view)

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        if self._denoiser is None:
            return self._alone.invert(smashed)
        device = next(self._denoiser.parameters()).device
        return self._inner.invert(_clean(self._denoiser, smashed.to(device))).to(smashed.device)

    def _trained(self, view: View, held_out: Tensor) -> nn.Module:
        """The denoiser, of the epoch that does best on held-out images."""
        generator = torch.Generator().manual_seed(view.seed)
        images = torch.from_numpy(view.auxiliary.inputs)
        target, wanted = (self._mean(view, part) for part in (images, held_out))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)
            network = Denoiser(target, release(view.query, images, view.device), self.width).to(view.device)
        noisy = release(view.query, held_out, view.device)
        least, best = torch.inf, copy.deepcopy(network.state_dict())
        steps = -(-len(images) // self.batch)
        optimizer = torch.optim.Adam(network.parameters(), self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs * steps)
        for _ in track(range(self.epochs), "training the denoiser"):
            smashed = release(view.query, images, view.device)
            network.train()
            for rows in torch.randperm(len(images), generator=generator).to(view.device).chunk(steps):
                with autocast(view.device):
                    output = network(smashed[rows])
                loss = mse_loss(output.float(), target[rows]) / network.variance
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
            error = mse_loss(_clean(network, noisy), wanted).item()
            note(f"error on held-out smashed data {error:.4f}")
            if error < least:
                least, best = error, copy.deepcopy(network.state_dict())
        network.load_state_dict(best)
        return network.eval()

    def _mean(self, view: View, images: Tensor) -> Tensor:
        """The mean of `n_queries` answers to each image."""
        total = release(view.query, images, view.device)
        for _ in range(self.n_queries - 1):
            total += release(view.query, images, view.device)
        return total / self.n_queries


class Denoiser(nn.Module):
    """A residual network ``(N, *shape)`` -> the same: convolutions on a grid, two linear layers on anything else.

    Args:
        target: ``(N, *shape)``, examples of clean smashed data.
        noisy: ``(N, *shape)``, the same with noise; the network begins with the best factor for it.
        width: Channels, or hidden values.
    """

    def __init__(self, target: Tensor, noisy: Tensor, width: int) -> None:
        super().__init__()
        shape = tuple(target.shape[1:])
        self.center, self.variance = target.mean().item(), max(target.var().item(), 1e-12)
        away = noisy - self.center
        self.gain = nn.Parameter(((target - self.center) * away).mean() / away.square().mean().clamp(min=1e-12))
        if layout(shape) == "channels first":
            layers = [
                nn.Conv2d(*sides, 3, padding=1) for sides in ((shape[0], width), (width, width), (width, shape[0]))
            ]
            self.body = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        else:
            size = math.prod(shape)
            self.body = nn.Sequential(
                nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, size), nn.Unflatten(1, shape)
            )

    def forward(self, smashed: Tensor) -> Tensor:
        """Map ``(N, *shape)`` to the same shape."""
        spread = self.variance**0.5
        standardized = (smashed - self.center) / spread
        out: Tensor = self.center + spread * (self.gain * standardized + self.body(standardized))
        return out


@torch.inference_mode()
def _clean(denoiser: nn.Module, smashed: Tensor) -> Tensor:
    """``(N, *smashed.shape)`` -> the same, in float32 and eval mode."""
    denoiser.eval()
    return torch.cat([denoiser(part).float() for part in torch.split(smashed, CHUNK)])


def _cleaned(denoiser: nn.Module, query: Query) -> Query:
    """The oracle whose answers are cleaned."""
    device = next(denoiser.parameters()).device
    return lambda images: _clean(denoiser, query(images).to(device)).clone().to(images.device)
