"""Diff-MI: a diffusion network of the victim's classes, and pictures between what it expects and what the victim knows.

O. Li, Y. Hao, Z. Wang, B. Zhu, S. Wang, Z. Zhang, F. Feng, "Model Inversion Attacks Through Target-Specific Conditional
Diffusion Models", 2024, https://arxiv.org/abs/2407.11424; code https://github.com/Ouxiang-Li/Diff-MI at commit 4778b9e:
30 own images for each class, those that the victim takes for it most surely; a diffusion network learns them; a picture
begins as noise and takes 30 times two steps of Adamax with learning rate 1, one down the network's error at a time that
falls, with guidance 3, and one down the margin to the 20 nearest classes over 4 random changes, with a pull to the mean
features of the class's own images, its gradient no longer than 1.25 times that of the first; at last noise of the time
0.15 is removed again.

Not repeated: the length of a gradient is that of a whole batch there, so that pictures depend on each other.

Differs from the paper: the network is that of `cutlayer.nets.class_diffusion`, trained for 1,500 steps in place of
50,000 and not tuned through its own samples; changes are crops of 0.9 and more and turns of 5 degrees, in place of
mirrors, brightness and blur; 20 steps remove the last noise. Their adversarial step at the very end is left out: it
changes what the victim says, and not what is seen.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from cutlayer.attacks.answers.augment import Augment
from cutlayer.attacks.answers.base import ClassAttack
from cutlayer.attacks.answers.objective import seen_by_last_layer
from cutlayer.attacks.answers.prior_of import images_of
from cutlayer.attacks.answers.taught import guessed
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.nets.class_diffusion import GUIDANCE, denoised, guided, learned_denoiser
from cutlayer.nets.diffusion import Denoiser, scales
from cutlayer.options import Count, LearningRate, Share, Size, Weight, Whole
from cutlayer.progress import track

BATCH = 256
CHANGED = Augment(crop=0.9, rotate=5)
SMOOTH = 0.5
"""How much of the length of earlier gradients is kept."""


@dataclass(kw_only=True)
class DiffMI(ClassAttack):
    """Change noise to what a diffusion network of the class expects and the victim knows, in turns.

    Args:
        width: Channels of the network at half resolution.
        train_steps: Training steps.
        steps: Pairs of steps that change the picture.
        lr: Learning rate of Adamax, for pixels in [-1, 1].
        guidance: How much further than its class a picture goes.
        nearest: Classes that the margin is to.
        draws: Random changes over which the victim's loss is averaged.
        features: Weight of the pull to the mean features of the class's own images.
        ratio: The greatest length of the second gradient, as a multiple of the first's.
        last: Time of the noise that is removed at last.
        last_steps: Steps that remove it.
    """

    plain_words = "learns to draw each class by removing noise, and corrects the drawings until the model knows them"
    needs = Reply.WEIGHTS

    width: Size = 32
    train_steps: Whole = 1500
    steps: Count = 30
    lr: LearningRate = 1.0
    guidance: Weight = GUIDANCE
    nearest: Count = 20
    draws: Count = 4
    features: Weight = 1.0
    ratio: Weight = 1.25
    last: Share = 0.15
    last_steps: Count = 20

    def represent(self, view: ClassView, k: int) -> Tensor:
        """See `ClassAttack`."""
        images, labels = guessed(view, images_of(view, "diff-mi"))

        def taught() -> Denoiser:
            sizes = {"width": self.width, "steps": self.train_steps, "seed": view.seed}
            return learned_denoiser(images, labels, view.classes, **sizes)

        network = view.kept(("diff-mi", self.width, self.train_steps), taught)
        with torch.no_grad():
            features = self._seen(view, images)[1]
        centres = torch.stack([features[labels == target].mean(0) for target in range(view.classes)])
        random = torch.Generator().manual_seed(view.seed)
        parts = torch.tensor(view.targets, device=view.device).repeat_interleave(k).split(BATCH)
        found: Tensor = torch.cat([self._found(view, network, y, centres[y], random) for y in parts])
        return found.view(len(view.targets), k, *view.input.shape).cpu()

    def _found(self, view: ClassView, network: Denoiser, y: Tensor, centres: Tensor, random: torch.Generator) -> Tensor:
        """Pictures ``(N, C, H, W)`` in [0, 1] of these classes."""

        def noise() -> Tensor:
            return torch.randn(len(y), *view.input.shape, generator=random).to(view.device)

        x, length = noise().requires_grad_(), torch.zeros(())
        adamax = torch.optim.Adamax([x], self.lr)
        for step in track(range(self.steps), "correcting the drawings"):
            eps, t = noise(), self._time(step, random)
            alpha, sigma = scales(t)
            noisy = alpha * x + sigma * eps
            expected = sigma * noisy + alpha * guided(network, noisy, t, y, self.guidance)
            (x.grad,) = torch.autograd.grad(mse_loss(expected, eps), x)
            now = _lengths(x.grad)
            length = now if not step else torch.lerp(now, length, SMOOTH)
            adamax.step()
            (gradient,) = torch.autograd.grad(self._loss(view, x, y, centres, random), x)
            x.grad = gradient * (self.ratio * length / _lengths(gradient)).clamp(max=1)
            adamax.step()
        alpha, sigma = scales(torch.tensor(self.last))
        noisy = alpha * x.detach() + sigma * noise()
        return denoised(network, noisy, y, start=self.last, steps=self.last_steps, guidance=self.guidance)

    def _time(self, step: int, random: torch.Generator) -> Tensor:
        """The time of the noise, which falls from 1 to 0.2 with a wave, and a little chance."""
        left = 1 - step / self.steps
        falling = left * (2 / 3 + math.cos(3 / (10 * math.pi) * step) / 3)
        chance = 0.05 * (2 * torch.rand((), generator=random) - 1)
        return (0.2 + 0.8 * falling + chance).clamp(0.001, 1)

    def _loss(self, view: ClassView, x: Tensor, y: Tensor, centres: Tensor, random: torch.Generator) -> Tensor:
        """How far the victim is from the classes, summed over pictures in [-1, 1] so that each has its own gradient."""
        total = x.new_zeros(())
        for _ in range(self.draws):
            changed = CHANGED((x + 1) / 2, random).clamp(0, 1)
            logits, features = self._seen(view, changed)
            others = logits.scatter(1, y[:, None], -torch.inf).topk(min(self.nearest, view.classes - 1)).values
            known = others.mean(1) - logits.gather(1, y[:, None]).squeeze(1)
            total = total + (known + self.features * (features - centres).square().mean(1)).sum()
        return total / self.draws

    def _seen(self, view: ClassView, images: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and what the last layer sees ``(N, F)``."""
        with seen_by_last_layer(view.model) as seen:
            logits = view.model(images).float()
        return logits, seen[0].flatten(1).float()


def _lengths(gradient: Tensor) -> Tensor:
    """The length of each picture's gradient, ``(N, 1, 1, 1)``, never 0."""
    lengths: Tensor = gradient.square().sum((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
    return lengths
