"""First hit: the first generated images that the victim takes for the class. It is the floor of attacks on labels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.answers import asked
from cutlayer.attacks.answers.view import BATCH, ClassView, Reply
from cutlayer.nets.priors import Prior
from cutlayer.options import Count


@dataclass(kw_only=True)
class FirstHit(asked.Asking):
    """Show the first images drawn from a prior that the victim takes for the class.

    Draws are asked about in batches until each class has its samples. Where the service has a budget, they end with
    it: more draws than hits are of no use to this floor.

    Args:
        draws: Greatest number of draws, for all classes together.
    """

    plain_words = "shows the first generated images that the model takes for the class"
    needs = Reply.LABEL
    is_floor = True

    draws: Count = 4000

    def represent(self, view: ClassView, k: int) -> Tensor:
        """See `ClassAttack`."""
        prior, random = self.made_prior(view), torch.Generator().manual_seed(view.seed)
        return asked.images(prior, hits(view, prior, k, asked.within(view, 1, self.draws), random)[0])


def hits(
    view: ClassView, prior: Prior, k: int, most: int, random: torch.Generator, bound: float = float("inf")
) -> tuple[Tensor, Tensor]:
    """The first k latent vectors for each target whose image the victim takes for it, and how many there are.

    Args:
        view: What the attacker may touch.
        prior: What is drawn from.
        k: Number of latent vectors for each target.
        most: Greatest number of draws, each of which is a question.
        random: Source of the draws.
        bound: Greatest absolute value of a coordinate.

    Returns:
        ``(targets, k, latent)``, and the number of hits ``(targets,)``, at most k. A class with fewer repeats them; a
        class that was never reached has the last draws, which are of other classes.
    """
    found: list[list[Tensor]] = [[] for _ in view.targets]
    drawn, z = 0, torch.empty(0, prior.latent)
    while drawn < most and min(map(len, found)) < k:
        fresh = prior.sample(min(BATCH, most - drawn), None, random).cpu().clamp(-bound, bound)
        said = asked.labels(view, prior, fresh)
        for of_class, target in zip(found, view.targets, strict=True):
            of_class += fresh[said == target][: k - len(of_class)]
        drawn, z = drawn + len(fresh), torch.cat([z, fresh])[-max(k, BATCH) :]
    places = torch.arange(k)
    chosen = [torch.stack(of_class)[places % len(of_class)] if of_class else z[places % len(z)] for of_class in found]
    return torch.stack(chosen), torch.tensor([len(of_class) for of_class in found])
