"""What a search with gradients descends: how far a model is from naming a class, and what keeps the image like data.

    sum_m mean_A L(f_m(A(G(z))), y) / M  +  penalty R(z, G(z))  +  pull |z|^2 / latent
        +  features |phi(G(z)) - c|^2 / F  +  diversity HSIC(halves of the class's images)

This is the only place where the attacks on answers take a gradient of the victim. Judges of the results live in
`cutlayer.privacy`, above the attacks, so that no attack can ask one.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutlayer.attacks.answers.augment import Augment
from cutlayer.attacks.answers.losses import Loss, log_probability
from cutlayer.attacks.gradients.priors import in_ball
from cutlayer.defenses.shared.dependence import gaussian_kernel, hsic
from cutlayer.errors import ConfigError
from cutlayer.nets.priors import Prior

CHUNK = 512
"""Images that are judged together."""


@dataclass(kw_only=True, frozen=True)
class Objective:
    """The objective of the rows of a batch, for `cutlayer.attacks.answers.steps`.

    Attributes:
        networks: Inputs to logits; each weighs as much.
        prior: Makes the images.
        y: ``(N,)`` int64: the class of each row.
        loss: One of `cutlayer.attacks.answers.losses.LOSSES`.
        random: Source of the random changes, on the CPU.
        augment: Random changes of each image before the networks see it.
        draws: Changed copies of each image.
        weight: Factor of the loss.
        penalty: Factor of the prior's penalty.
        pull: Factor of the pull of z to 0.
        features: Factor of the distance to `centre`.
        diversity: Factor of the dependence between the halves of a class's images.
        centre: ``(F,)``: where `features` pulls what the first network's last layer sees.
        bound: Greatest size of an element of z; infinite for none.
        block: Number of the prior's block whose input is searched; 0 for z.
        origin: The input of the block at the start of the search; None for block 0.
        radius: How far from `origin` the search may be, in the L1 norm.
    """

    networks: Sequence[nn.Module]
    prior: Prior
    y: Tensor
    loss: Loss
    random: torch.Generator
    augment: Augment
    draws: int = 1
    weight: float = 1.0
    penalty: float = 0.0
    pull: float = 0.0
    features: float = 0.0
    diversity: float = 0.0
    centre: Tensor | None = None
    bound: float = math.inf
    block: int = 0
    origin: Tensor | None = None
    radius: float = math.inf

    @property
    def groups(self) -> Tensor:
        """``(N,)``: the class of each row, as a number from 0 without gaps."""
        numbers: Tensor = self.y.unique(return_inverse=True)[1]
        return numbers

    def image(self, z: Tensor) -> Tensor:
        """The images ``(N, C, H, W)`` of latent vectors, or of inputs of `block`."""
        if not self.block:
            return self.prior.image(z, self.y)
        for block in self.prior.blocks()[self.block :]:
            z = block(z, self.y)
        return z

    def value(self, z: Tensor) -> Tensor:
        """The objective of each row, ``(N,)``."""
        image = self.image(z)
        value = self.weight * self._loss(image)
        if self.penalty:
            value = value + self.penalty * self.prior.penalty(z, image)
        if self.pull and not self.block:
            value = value + self.pull * z.square().mean(1)
        if self.features and self.centre is not None:
            with seen_by_last_layer(self.networks[0]) as seen:
                self.networks[0](image)
            value = value + self.features * (seen[0].flatten(1) - self.centre).square().mean(1)
        if self.diversity:
            groups = self.groups
            terms = [_dependence(image[groups == group]) for group in range(int(groups.max()) + 1)]
            value = value + self.diversity * torch.stack(terms)[groups]
        return value

    def gradient(self, z: Tensor) -> Tensor:
        """The gradient of the sum over all rows, of the shape of `z`."""
        z = z.detach().requires_grad_()
        return torch.autograd.grad(self.value(z).sum(), z)[0].nan_to_num()

    def clip(self, z: Tensor) -> Tensor:
        """The nearest vectors that may be searched."""
        if self.origin is not None:
            inside = in_ball((z - self.origin).flatten(1), self.radius)
            return self.origin + inside.view_as(z)
        return self.prior.clip(z).clamp(-self.bound, self.bound)

    def _loss(self, image: Tensor) -> Tensor:
        losses = []
        for _ in range(self.draws):
            changed = self.augment(image, self.random)
            losses += [self.loss(network(changed).float(), self.y) for network in self.networks]
        return torch.stack(losses).mean(0)


@torch.no_grad()
def answers(
    networks: Sequence[nn.Module], images: Tensor, augment: Augment, votes: int, random: torch.Generator
) -> Tensor:
    """The logits of each network for changed copies of each image, ``(copies, N, K)``.

    Args:
        networks: Inputs to logits.
        images: ``(N, C, H, W)``.
        augment: Changes of the images.
        votes: Changed copies of each image; 0 for the image as it is.
        random: Source of the changes, on the CPU.
    """
    each = []
    for part in images.split(CHUNK):
        copies = [augment(part, random) for _ in range(votes)] or [part]
        each.append(torch.stack([network(copy) for network in networks for copy in copies]))
    return torch.cat(each, 1)


def confidence(logits: Tensor, y: Tensor) -> Tensor:
    """The log of the mean probability of each image's class, ``(N,)`` float64.

    Args:
        logits: ``(copies, N, K)``.
        y: ``(N,)`` int64.
    """
    logs = torch.stack([log_probability(copy, y) for copy in logits])
    return logs.logsumexp(0) - math.log(len(logs))


@torch.no_grad()
def mean_features(network: nn.Module, images: Tensor) -> Tensor:
    """What the network's last layer sees on average, ``(F,)``."""
    sums = []
    with seen_by_last_layer(network) as seen:
        for part in images.split(CHUNK):
            network(part)
            sums.append(seen.pop().flatten(1).sum(0))
    return torch.stack(sums).sum(0) / len(images)


@contextmanager
def seen_by_last_layer(network: nn.Module) -> Iterator[list[Tensor]]:
    """A list to which each call of the network adds the input of its last linear layer.

    Raises:
        ConfigError: It has none.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ConfigError("A pull of the features (features) needs a victim whose last layer is linear; set it to 0.")
    seen: list[Tensor] = []
    with ExitStack() as stack:
        hook = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        stack.callback(hook.remove)
        yield seen


def _dependence(images: Tensor) -> Tensor:
    """How far the second half of the images depends on the first, image by image; a scalar."""
    half = len(images) // 2
    if half < 2:
        return images.new_zeros(())
    return hsic(gaussian_kernel(images[:half]), gaussian_kernel(images[half : 2 * half]))
