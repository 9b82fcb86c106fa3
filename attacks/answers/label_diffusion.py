"""Label-only conditional diffusion: what the victim calls own images teaches a network to draw each of its classes.

R. Liu, D. Wang, Y. Ren, Z. Wang, K. Guo, Q. Qin, X. Liu, "Unstoppable Attack: Label-Only Model Inversion via
Conditional Diffusion Model", IEEE Transactions on Information Forensics and Security 2024. From the description, for no
code was found: own images of a related task are labelled by the victim, a diffusion network learns them with these
labels, and noise, the class and a strength of guidance give several pictures, of which those are shown that the victim
calls by the class. `cutlayer.nets.class_diffusion` has the network and the sampling.

Threat model: the attacker gets labels, one for each own image and each picture that it draws.

A class that the victim sees in none of the attacker's images is drawn without guidance of any example.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.answers.base import ClassAttack
from cutlayer.attacks.answers.prior_of import images_of
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.nets.class_diffusion import GUIDANCE, denoised, learned_denoiser
from cutlayer.nets.diffusion import Denoiser
from cutlayer.options import Count, Size, Weight, Whole


@dataclass(kw_only=True)
class LabelDiffusion(ClassAttack):
    """Learn to draw what the victim calls by each class, and show drawings that it calls so.

    Args:
        questions: Own images that the victim is asked about.
        width: Channels of the network at half resolution.
        train_steps: Training steps.
        steps: Steps from noise to a picture.
        guidance: How much further than its class a picture goes.
        candidates: Pictures that are drawn, and asked about, for each that is shown.
    """

    plain_words = "learns to draw what the model calls by each class, and shows drawings that it calls so too"
    needs = Reply.LABEL

    questions: Count = 5000
    width: Size = 32
    train_steps: Whole = 1500
    steps: Count = 30
    guidance: Weight = GUIDANCE
    candidates: Count = 2

    def represent(self, view: ClassView, k: int) -> Tensor:
        """See `ClassAttack`."""
        images = images_of(view, "label-diffusion")

        def taught() -> Denoiser:
            chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(view.seed))[: self.questions]
            own = images[chosen.to(images.device)]
            sizes = {"width": self.width, "steps": self.train_steps, "seed": view.seed}
            return learned_denoiser(own, view.service.labels(own).to(own.device), view.classes, **sizes)

        network = view.kept(("label-diffusion", self.questions, self.width, self.train_steps), taught)
        random, shown = torch.Generator().manual_seed(view.seed), []
        for target in view.targets:
            noise = torch.randn(k * self.candidates, *view.input.shape, generator=random).to(view.device)
            y = torch.full((len(noise),), target, device=view.device)
            drawn = denoised(network, noise, y, steps=self.steps, guidance=self.guidance)
            right = view.service.labels(drawn).to(view.device) == target
            shown.append(drawn[right.sort(descending=True, stable=True).indices[:k]])
        return torch.stack(shown).cpu()
