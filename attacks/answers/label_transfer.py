"""Label transfer: imitations of the victim, learned from the labels it gives, are searched in its place.

It is LOKT (`cutlayer.attacks.answers.lokt`) without its generator, and the ablation that LOKT is to beat: the
attacker's own images are asked about once, small networks learn the labels, and the search by the margin
(`cutlayer.attacks.answers.margin`) descends their mean. B.-N. Nguyen, K. Chandrasegaran, M. Abdollahzadeh, N.-M.
Cheung, "Label-Only Model Inversion Attacks via Knowledge Transfer", NeurIPS 2023, https://arxiv.org/abs/2310.19342.

Threat model: the attacker asks for labels, and has images of the domain.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from cutlayer.attacks.answers import asked
from cutlayer.attacks.answers.margin import Margin
from cutlayer.attacks.answers.prior_of import images_of
from cutlayer.attacks.answers.students import distilled
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.options import Count, Whole


@dataclass(kw_only=True)
class LabelTransfer(Margin):
    """Search by the margin of networks that learned the victim's labels.

    Each question is asked before the search, for all classes together. Where the service has a budget, it limits the
    images that are asked about, the attacker's own first.

    Args:
        images: The attacker's own images that are asked about, at most; 0 for all.
        drawn: Random images of the prior that are asked about as well.
        students: Networks that learn the labels, whose losses weigh as much as each other.
        student_steps: Least number of their training steps.
    """

    plain_words = "teaches imitations of the model by its labels, and changes generated pictures until they agree"
    needs = Reply.LABEL

    images: Whole = 0
    drawn: Whole = 0
    students: Count = 3
    student_steps: Whole = 1500

    def through(self, view: ClassView) -> tuple[nn.Module, ...]:
        """The imitations."""
        own = asked.within(view, 1, min(self.images or len(view.auxiliary), len(view.auxiliary)))
        drawn = asked.within(view, 1, own + self.drawn) - own

        def make() -> tuple[nn.Module, ...]:
            random = torch.Generator().manual_seed(view.seed)
            images = images_of(view, self.prior).cpu()
            images = images[torch.randperm(len(images), generator=random)[:own]]
            if drawn:
                prior = self.made_prior(view)
                images = torch.cat([images, asked.images(prior, prior.sample(drawn, None, random))])
            return self.taught(view, images)

        key = "students of labels", own, drawn, self.students, self.student_steps
        return view.kept((*key, self.prior, self.latent, self.width, self.prior_steps) if drawn else key, make)

    def imitations(self, view: ClassView, networks: tuple[nn.Module, ...]) -> tuple[nn.Module, ...]:
        """No further ones."""
        return ()

    def taught(self, view: ClassView, images: Tensor) -> tuple[nn.Module, ...]:
        """Networks that name images ``(N, C, H, W)`` as the victim does, which is asked about each."""
        told = one_hot(view.service.labels(images).cpu(), view.classes).float()
        size = {"n": self.students, "steps": self.student_steps}
        return distilled(images, told, **size, seed=view.seed, device=view.device)
