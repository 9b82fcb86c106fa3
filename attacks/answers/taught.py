"""Priors that the model under attack helps to learn; `cutlayer.attacks.answers.prior_of` names them.

All of them ask the network that the attacker holds, and nobody else.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cutlayer.attacks.answers.augment import Augment
from cutlayer.attacks.answers.losses import margin
from cutlayer.attacks.answers.objective import seen_by_last_layer
from cutlayer.attacks.answers.view import BATCH, ClassView
from cutlayer.nets.conditional import Conditional, learned_conditional, taught
from cutlayer.nets.informed import Informed, learned_informed
from cutlayer.nets.norms import Norms
from cutlayer.nets.patches import PatchCritic

TOP = 30
"""The attacker's images that stand for each class of the victim: those that it takes for the class most surely."""
GUIDED = Augment(crop=0.8, rotate=5)
"""Changes of generated images before the victim judges them; PLG-MI's, without mirrors and changes of color."""
LR = 1e-3
"""Learning rate of generators that learn from a lesson."""
SHARP, ACTIVE, NORMS = 1.0, 0.1, 1.0
"""Weights of sharp answers, of high activations and of the statistics of batch normalization beside the class."""
PATCH, CRITIC = 0.25, 1.0
"""Side of a patch, as a share of that of the image, and the weight of its critic beside the class."""


def conditional(view: ClassView, images: Tensor, latent: int, width: int, steps: int) -> Conditional:
    """PLG-MI's: a generator of classes, of the attacker's images that the network takes for them."""
    chosen, labels = guessed(view, images)
    random = torch.Generator().manual_seed(view.seed)

    def guide(made: Tensor, y: Tensor) -> Tensor:
        return margin(view.model(GUIDED(made, random)).float(), y)

    sizes = {"latent": latent, "width": width, "steps": steps, "seed": view.seed}
    return learned_conditional(chosen, labels, view.classes, guide, **sizes)


def guessed(view: ClassView, images: Tensor) -> tuple[Tensor, Tensor]:
    """The `TOP` images that the network takes most surely for each class, one class after the other, and the classes.

    An image may stand for several classes.
    """
    rows = answers(view, images).topk(min(TOP, len(images)), dim=0).indices.T
    labels = torch.arange(len(rows), device=images.device).repeat_interleave(rows.shape[1])
    return images[rows.flatten()], labels


@torch.no_grad()
def answers(view: ClassView, images: Tensor) -> Tensor:
    """The log-probabilities ``(N, classes)`` that the network gives images."""
    return torch.cat([view.model(part).float().log_softmax(1) for part in images.split(BATCH)])


def informed(view: ClassView, images: Tensor, latent: int, width: int, steps: int) -> Informed:
    """KEDMI's: a generator whose critic knows what the network says of the attacker's images."""
    sizes = {"latent": latent, "width": width, "steps": steps, "seed": view.seed}
    return learned_informed(images, answers(view, images).exp(), **sizes)


def ensemble(view: ClassView, latent: int, width: int, steps: int) -> Conditional:
    """EMI's: a generator of classes that is learned from all networks that the attacker holds, and from no data."""
    models, norms = view.models, [Norms(model) for model in view.models]

    def lesson(made: Tensor, y: Tensor) -> Tensor:
        terms = []
        for model, norm in zip(models, norms, strict=True):
            with seen_by_last_layer(model) as seen, norm:
                logits = model(made).float()
                gap = norm.gap() if norm.layers else 0.0
            sharp, active = logits.softmax(1).amax(1), seen[0].flatten(1).abs().mean(1)
            terms.append(cross_entropy(logits, y, reduction="none") - SHARP * sharp - ACTIVE * active + NORMS * gap)
        return torch.stack(terms).mean(0)

    sizes = {"latent": latent, "width": width, "steps": steps, "seed": view.seed}
    return taught(view.input.shape, view.classes, lesson, lr=LR, device=view.device, **sizes)


def patch(view: ClassView, images: Tensor, latent: int, width: int, steps: int) -> Conditional:
    """Patch-MI's: a generator of classes whose patches are to look like those of the attacker's images."""
    random = torch.Generator().manual_seed(view.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(view.seed)
        critic = PatchCritic(2 * width, view.input.shape, PATCH).to(view.device)

    def lesson(made: Tensor, y: Tensor) -> Tensor:
        rows = torch.randint(len(images), (len(made),), generator=random).to(images.device)
        critic.learn(images[rows], made)
        known = cross_entropy(view.model(GUIDED(made, random)).float(), y, reduction="none")
        doubt: Tensor = -critic(made).flatten(1).mean(1)
        return known + CRITIC * doubt

    sizes = {"latent": latent, "width": width, "steps": steps, "seed": view.seed}
    return taught(view.input.shape, view.classes, lesson, lr=LR, device=view.device, **sizes)
