"""White-box inversion: search the image whose smashed data, computed with the head's own weights, is what was received.

    x* = argmin  ||protect(head(x)) - v||^2  +  tv * TV(x)        (rMLE; He, Zhang, Lee, ACSAC 2019)

Zecheng He, Tianwei Zhang, Ruby B. Lee. Model Inversion Attacks Against Collaborative Inference, ACSAC 2019; code
github.com/zechenghe/Inverse_Collaborative_Inference @f010aed. Threat model: the attacker holds the head's weights and
the defense's code and settings, not its random draws. The expectation over those is that of Athalye et al., ICML 2018.

Learning rate and weight of TV decide what this attack finds, by many dB, and no loss can rank them: a weight of 0 has
the least loss, however noisy its image. So the attacker rehearses: it has the device release a few images of the
attacker's own, inverts them with every setting, and keeps the setting that came nearest to the images it knows. No
victim's image is looked at.

Differs from the paper:

- All images are one batch with a summed loss. Adam works element by element, so each image develops as it would alone.
- The settings are chosen by rehearsal, not for each cut by hand; the learning rate falls to zero in the last
  tenth of the steps, along a line.
- As in the authors' code and not their text, both terms are means and TV is that of squared differences. The first term
  is divided by the variance of the smashed data, so that one grid of weights serves all cuts.
- Pixels are clipped to [0, 1] after every step, not once at the end; with a weight of 0 that alone is worth several dB.
- The misfit can be rescaled against gradients that a defense has masked (`cutlayer.attacks.features.misfit`),
  and the search restarted.
- Adam without AMSGrad and with an epsilon of 1e-8 (theirs: 1e-3); the start is gray in pixels.
- bfloat16 where the processor is faster that way, for the first nine tenths of the steps.
"""

import copy
import itertools
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.misfit import MISFITS, PRECONDITIONED, Misfit
from cutlayer.attacks.queries import auxiliary_images
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.machine.compute import autocast
from cutlayer.models.graph import trace
from cutlayer.options import Count, LearningRate, Weight
from cutlayer.progress import track

CHUNK = 256
"""Images optimized together."""
MEASURED = 256
"""Auxiliary images from whose smashed data the scales of the misfit are taken."""
EXACT_TAIL = 0.1
"""Share of the steps, the last ones, that are always float32."""
BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Adam's decay rates, and the term that keeps its denominator above 0."""


@dataclass(kw_only=True)
class WhiteBox(Attack):
    """Optimize the image itself, by gradients through the head.

    Args:
        iterations: Adam steps.
        lr: Learning rates to rehearse, in pixel units.
        tv: Weights of total variation to rehearse.
        misfit: Ways to rehearse of comparing smashed data; see `cutlayer.attacks.features.misfit`.
        rehearsal: Auxiliary images inverted with every setting to choose one; with a single setting none are.
        restarts: Starts for each image: gray, then auxiliary images; the result with the least loss is taken.
        expectation: Draws of a random defense at each step.
        bf16: Allow bfloat16 where the processor is faster that way.
    """

    plain_words = "changes a guess until it would have sent the same numbers"
    rebuilds = ("image",)
    needs = Access.WHITE_BOX
    steps_option = "iterations"
    least_steps = 50

    iterations: Count = 1000
    lr: tuple[LearningRate, ...] = (0.5, 0.1)
    tv: tuple[Weight, ...] = (0.0, 0.01, 0.1, 1.0)
    misfit: tuple[str, ...] = ("plain",)
    rehearsal: Count = 4
    restarts: Count = 1
    expectation: Count = 1
    bf16: bool = True

    def __post_init__(self) -> None:
        if unknown := set(self.misfit) - set(MISFITS):
            raise ConfigError(f"white-box.misfit must be of {', '.join(MISFITS)}, not {min(unknown)!r}.")
        self.lr, self.tv, self.misfit = tuple(self.lr), tuple(self.tv), tuple(self.misfit)  # TOML writes lists

    @property
    def rescales_misfit(self) -> bool:
        """Whether one of the misfits to rehearse is rescaled."""
        return not set(self.misfit).isdisjoint(PRECONDITIONED)

    def fit(self, view: View) -> None:
        """Freeze a copy of the head; choose a misfit, learning rate and weight of TV on the attacker's own images."""
        self._head = freeze(view.head).to(view.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = view.device
        self._images = auxiliary_images(view, max(MEASURED, self.rehearsal, self.restarts)).to(view.device)
        self._misfit = Misfit(self.misfit, self._images, view, self.expectation)
        self._setting = self.misfit[0], self.lr[0], self.tv[0]
        if len(self.misfit) * len(self.lr) * len(self.tv) > 1:
            self._setting = self._rehearse(self._images[: self.rehearsal], self._misfit.smashed[: self.rehearsal])

    def _rehearse(self, images: Tensor, smashed: Tensor) -> tuple[str, float, float]:
        """The setting that comes nearest to images that the attacker knows."""
        grid = list(itertools.product(self.lr, self.tv))
        each = torch.tensor(grid).repeat_interleave(len(images), dim=0)
        smashed = smashed.repeat(len(grid), *[1] * (smashed.ndim - 1))
        errors: dict[tuple[str, float, float], float] = {}
        for kind in self.misfit:
            guesses = self._search(smashed, kind, each[:, 0], each[:, 1], 1)
            error = (guesses.reshape(len(grid), *images.shape) - images).square().flatten(1).mean(dim=1)
            errors |= {(kind, *setting): float(mean) for setting, mean in zip(grid, error, strict=True)}
        return min(errors, key=lambda setting: errors[setting])

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        kind, *setting = self._setting
        lr, tv = (torch.full((len(smashed),), value) for value in setting)
        return self._search(smashed.to(self._device), kind, lr, tv, self.restarts).to(smashed.device)

    def _search(self, smashed: Tensor, kind: str, lr: Tensor, tv: Tensor, restarts: int) -> Tensor:
        batches = []
        for v, a, b in zip(*(torch.split(part, CHUNK) for part in (smashed, lr, tv)), strict=True):
            starts = [torch.full_like(self._images[:1], 0.5), *(self._images[k : k + 1] for k in range(restarts - 1))]
            best, least = torch.empty(0), torch.full((len(v),), torch.inf, device=v.device)
            for start in starts:
                x, loss = self._optimize(v, kind, a.to(v), b.to(v), start.expand(len(v), -1, -1, -1))
                better = (loss < least).view(-1, 1, 1, 1)
                best, least = torch.where(better, x, best) if best.numel() else x, torch.minimum(loss, least)
            batches.append(best)
        return torch.cat(batches)

    def _optimize(self, smashed: Tensor, kind: str, lr: Tensor, tv: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Run Adam on one batch; each image has its own learning rate and weight of TV, ``(N,)``.

        Returns:
            Images ``(N, C, H, W)``, and their losses ``(N,)`` at the last step.
        """
        x = start.clone(memory_format=torch.channels_last).requires_grad_()
        if smashed.ndim == 4:  # the layout of the head's output; otherwise every comparison rearranges one of the two
            smashed = smashed.contiguous(memory_format=torch.channels_last)
        mean, square, loss = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(lr)
        exact = kind == "whitened"  # whitening magnifies the rounding of bfloat16 with all else that is faint
        for step in track(range(self.iterations), "searching the images"):
            fast = self.bf16 and not exact and step < (1 - EXACT_TAIL) * self.iterations
            with autocast(smashed.device, enabled=fast):
                output = self._head(x)
            loss = self._misfit(kind, output.float(), (smashed,)) + tv * total_variation(x)
            (gradient,) = torch.autograd.grad(loss.sum(), x)
            with torch.no_grad():
                mean.lerp_(gradient, 1 - BETAS[0])
                square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
                rate = (lr * remaining(step, self.iterations) / (1 - BETAS[0] ** (step + 1))).view(-1, 1, 1, 1)
                x -= rate * mean / ((square / (1 - BETAS[1] ** (step + 1))).sqrt_() + EPSILON)
                x.clamp_(0, 1)
        return x.detach().contiguous(), loss.detach()


def remaining(step: int, steps: int) -> float:
    """Share of the learning rate at a step: 1, then falling to 0 in the exact tail, so that float32 settles."""
    return min(1.0, (1 - step / steps) / EXACT_TAIL)


def total_variation(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` -> ``(N,)``, mean squared difference of vertical neighbors plus that of horizontal ones."""
    return x.diff(dim=2).square().mean((1, 2, 3)) + x.diff(dim=3).square().mean((1, 2, 3))


def freeze(head: nn.Module) -> nn.Module:
    """A copy in eval mode without gradients for its weights, batch normalization folded into the convolutions."""
    frozen = trace(copy.deepcopy(head))
    modules = dict(frozen.named_modules())
    calls = [node for node in frozen.graph.nodes if node.op == "call_module"]
    called_once = {name for name, count in Counter(node.target for node in calls).items() if count == 1}
    for node in calls:
        before = node.args[0]
        if before not in calls or len(before.users) > 1 or not {node.target, before.target} <= called_once:
            continue
        convolution, norm = modules[before.target], modules[node.target]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
            frozen.set_submodule(before.target, fuse_conv_bn_eval(convolution, norm))
            node.replace_all_uses_with(before)
            frozen.graph.erase_node(node)
    frozen.recompile()
    frozen.delete_all_unused_submodules()
    return frozen.requires_grad_(False)
