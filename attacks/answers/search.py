"""The one search with gradients: latent vectors of a prior whose images the victim takes for the class.

    z* = argmin  sum_m mean_A L(f_m(A(G(z))), y) / M  +  penalty R  +  pull |z|^2 / latent  + ...

Each part is an option, see `cutlayer.attacks.answers.objective`, and each published system a subclass whose defaults
are its settings, scaled to small images. Threat model: who holds the victim's weights, or what stands for them.

Where the search starts and what it shows at the end is decided by the same networks that it descends, which are the
attacker's own; it asks nobody.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from cutlayer.attacks.answers.augment import Augment
from cutlayer.attacks.answers.base import ClassAttack
from cutlayer.attacks.answers.losses import LOSSES
from cutlayer.attacks.answers.objective import CHUNK, Objective, answers, confidence, mean_features
from cutlayer.attacks.answers.prior_of import PRIORS, images_of, prior_of
from cutlayer.attacks.answers.steps import adam, distribution, momentum
from cutlayer.attacks.answers.students import distilled
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.errors import ConfigError, near
from cutlayer.nets.priors import Prior
from cutlayer.options import Count, LearningRate, Share, Size, Weight, Whole

STEPS = ("adam", "distribution", "momentum")
BATCH = 256
"""Images that are searched together, unless those of one class are more."""
FEATURES = 2000
"""The attacker's images whose mean features `features` pulls to."""


@dataclass(kw_only=True)
class Search(ClassAttack):
    """Search latent vectors of a prior whose images the victim takes for the class.

    Args:
        prior: What is searched, a name in `cutlayer.attacks.answers.prior_of.PRIORS`.
        latent: Length of a latent vector, or the most that the prior can have.
        width: Channels of the prior's networks at full resolution.
        prior_steps: Training steps of the prior.
        loss: How far the victim is from naming the class, a name in `cutlayer.attacks.answers.losses.LOSSES`.
        weight: Factor of the loss.
        penalty: Factor of the prior's own doubt about the image.
        pull: Factor of the pull of the latent vector to 0.
        features: Factor of the pull of what the victim's last layer sees to its mean over the attacker's images.
        diversity: Factor of the dependence between the halves of a class's images, which is to be little.
        step: ``adam``, ``momentum``, or ``distribution`` (a normal distribution of latent vectors for each class).
        steps: Steps of the search.
        lr: Learning rate.
        momentum: Momentum, or the first beta of Adam.
        second: The second beta of Adam.
        kl: Factor of the divergence of a distribution from that of the prior.
        bound: Greatest size of an element of the latent vector; 0 for none.
        shift: Greatest random move of the image in each direction, as a share of the side.
        crop: Least side of a random crop, as a share of the side; 1 for none.
        rotate: Greatest random rotation to each side, in degrees.
        flip: Whether every other image is mirrored left to right.
        erase: Greatest share of the area of the image that is erased at random, as the defense ``random-erasing`` does.
        draws: Random changes over which the loss is averaged in a step.
        starts: Latent vectors of which the surest ones for the class start; 0 starts at any.
        candidates: Searches for each image that is shown; the surest are shown.
        votes: Random changes over which the victim's confidence decides what is shown; 0 for the image as it is.
        layers: Inner layers of the prior that are searched after the latent vectors, one after the other.
        later_steps: Steps for each of them.
        radius: How far an inner layer may go from where it begins, as a share of its mean L1 norm.
        every: Whether the loss is the mean over all networks that the attacker holds, and not that of the last one.
        students: Small networks that learn to answer as those do, and weigh as much as they in the search.
        student_steps: Least number of training steps of each.
    """

    plain_words = "changes a generated picture until the model takes it most surely for the class"
    needs = Reply.WEIGHTS

    prior: str = "wgan"
    latent: Size = 64
    width: Size = 8
    prior_steps: Whole = 800
    loss: str = "margin"
    weight: Weight = 1.0
    penalty: Weight = 0.0
    pull: Weight = 0.0
    features: Weight = 0.0
    diversity: Weight = 0.0
    step: str = "adam"
    steps: Whole = 120
    lr: LearningRate = 0.08
    momentum: Share = 0.9
    second: Share = 0.999
    kl: Weight = 0.0
    bound: Weight = 0.0
    shift: Share = 0.0
    crop: Share = 1.0
    rotate: Weight = 0.0
    flip: bool = False
    erase: Share = 0.0
    draws: Count = 1
    starts: Whole = 0
    candidates: Count = 1
    votes: Whole = 0
    layers: Whole = 0
    later_steps: Whole = 25
    radius: Weight = 0.2
    every: bool = False
    students: Whole = 0
    student_steps: Count = 500

    def __post_init__(self) -> None:
        for option, accepted in (("prior", PRIORS), ("loss", LOSSES), ("step", STEPS)):
            if (given := getattr(self, option)) not in accepted:
                raise ConfigError(f"There is no {option} named {given!r:.80}; {near(str(given), accepted)}")
        if self.layers and self.step == "distribution":
            raise ConfigError("Inner layers have no distribution to search; set layers = 0, or step = 'adam'.")

    def through(self, view: ClassView) -> tuple[nn.Module, ...]:
        """The networks through which the search descends, and which choose; its students join them."""
        return view.models if self.every else (view.model,)

    def imitations(self, view: ClassView, networks: tuple[nn.Module, ...]) -> tuple[nn.Module, ...]:
        """The students of these networks, who learn on the attacker's images."""
        if not self.students:
            return ()
        images, random = images_of(view, self.prior), torch.Generator().manual_seed(view.seed)
        told = answers(networks, images, Augment(), 0, random).softmax(2).mean(0)
        sizes = {"n": self.students, "steps": self.student_steps}
        return distilled(images, told, **sizes, seed=view.seed, device=view.device)

    def made_prior(self, view: ClassView) -> Prior:
        """The prior that is searched."""
        return prior_of(view, self.prior, latent=self.latent, width=self.width, steps=self.prior_steps)

    def represent(self, view: ClassView, k: int) -> Tensor:
        """See the base."""
        return self.found(view, self.made_prior(view), k)

    def found(self, view: ClassView, prior: Prior, k: int) -> Tensor:
        """What the search finds with this prior, ``(targets, k, *input.shape)``."""
        networks = self.through(view)
        networks += self.imitations(view, networks)
        if self.layers >= len(prior.blocks()):
            raise ConfigError(
                f"The prior {self.prior!r} has {len(prior.blocks()) - 1} inner layers, and layers = {self.layers} are "
                "to be searched; set fewer, or take another prior."
            )
        random = torch.Generator().manual_seed(view.seed)
        augment = Augment(shift=self.shift, crop=self.crop, rotate=self.rotate, flip=self.flip, erase=self.erase)
        objective = Objective(
            networks=networks,
            prior=prior,
            y=torch.zeros(0, dtype=torch.int64),
            loss=LOSSES[self.loss],
            random=random,
            augment=augment,
            draws=self.draws,
            weight=self.weight,
            penalty=self.penalty,
            pull=self.pull,
            features=self.features,
            diversity=self.diversity,
            centre=mean_features(networks[0], images_of(view, self.prior)[:FEATURES]) if self.features else None,
            bound=self.bound or math.inf,
        )
        n = k * self.candidates
        shown = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)  # of networks that draw as they compute
            starts = _Starts(networks, prior, max(self.starts, n) if self.starts else 0, random)
            for targets in _parts(view.targets, max(1, BATCH // n)):
                y = torch.tensor(targets, device=view.device).repeat_interleave(n)
                z = torch.cat([starts(target, n) for target in targets])
                images, sure = self._searched(replace(objective, y=y), z)
                best = sure.view(len(targets), n).topk(k).indices
                each = images.unflatten(0, (len(targets), n))
                shown += [pictures[chosen] for pictures, chosen in zip(each, best, strict=True)]
        return torch.stack(shown).clamp(0, 1).cpu()

    def _searched(self, objective: Objective, z: Tensor) -> tuple[Tensor, Tensor]:
        """The images of each row's surest layer, and how sure the networks are of them."""
        z = self._steps()(objective, objective.clip(z), objective.random, self.steps)
        images, sure = self._seen(objective, z)
        blocks = objective.prior.blocks()
        for number in range(1, self.layers + 1):
            with torch.no_grad():
                origin = blocks[number - 1](z, objective.y)
            radius = self.radius * origin.flatten(1).abs().sum(1).mean().item()
            objective = replace(objective, block=number, origin=origin, radius=radius)
            z = self._steps()(objective, origin, objective.random, self.later_steps)
            later, surer = self._seen(objective, z)
            better = surer > sure
            images = torch.where(better[:, None, None, None], later, images)
            sure = torch.where(better, surer, sure)
        return images, sure

    @torch.no_grad()
    def _seen(self, objective: Objective, z: Tensor) -> tuple[Tensor, Tensor]:
        images = objective.image(z)
        votes = self.votes if objective.augment.on else 0
        said = answers(objective.networks, images, objective.augment, votes, objective.random)
        return images, confidence(said, objective.y).nan_to_num(-math.inf)

    def _steps(self) -> Callable[[Objective, Tensor, torch.Generator, int], Tensor]:
        if self.step == "momentum":
            return partial(momentum, lr=self.lr, momentum=self.momentum)
        if self.step == "adam":
            return partial(adam, lr=self.lr, momentum=self.momentum, second=self.second)
        return partial(distribution, lr=self.lr, momentum=self.momentum, second=self.second, kl=self.kl)


class _Starts:
    """Latent vectors at which searches start.

    Args:
        networks: They choose.
        prior: What the vectors are drawn from.
        n: Vectors that are drawn; where the prior knows of classes, for each class. 0 for as many as start.
        random: Source on the CPU.
    """

    def __init__(self, networks: Sequence[nn.Module], prior: Prior, n: int, random: torch.Generator) -> None:
        self.networks, self.prior, self.n, self.random = networks, prior, n, random
        self._drawn: tuple[Tensor, Tensor] | None = None

    def __call__(self, target: int, n: int) -> Tensor:
        """``(n, latent)`` for a class."""
        y = torch.full((self.n or n,), target, device=self.prior.device)
        if not self.n:
            return self.prior.sample(n, y, self.random)
        if self._drawn is None or self.prior.conditional:
            z = self.prior.sample(self.n, y, self.random)
            with torch.no_grad():
                images = [self.prior.image(*part) for part in zip(z.split(CHUNK), y.split(CHUNK), strict=True)]
            self._drawn = z, answers(self.networks, torch.cat(images), Augment(), 0, self.random)
        z, said = self._drawn
        return z[confidence(said, y).topk(n).indices]


def _parts(targets: tuple[int, ...], n: int) -> Iterator[tuple[int, ...]]:
    for first in range(0, len(targets), n):
        yield targets[first : first + n]
