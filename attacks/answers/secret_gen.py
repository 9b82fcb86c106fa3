"""SecretGen: the hidden part of a picture, filled so that the model is sure of whom it shows.

Z. Yuan, F. Wu, Y. Long, C. Xiao, B. Li, "SecretGen: Privacy Recovery on Pre-Trained Models via Distribution
Discrimination", ECCV 2022, https://arxiv.org/abs/2207.12263; code github.com/AI-secure/SecretGen @a080eee. The attacker
holds pictures of people that the victim was trained on, with a part hidden, and does not know who they are. A generator
fills the part in many ways; the class that the victim sees most surely over all of them is taken for the label, and the
filling that it is surest of is shown. Whoever holds the weights goes on from there by gradient steps.

Differs from the paper:

- The generator is `cutlayer.nets.inpainting`, whose latent vectors matter by its training, without a diversity term.
- Each filling is asked about once, where theirs are asked about under 16 cut-outs.
- Gradient steps are Adam's, and fewer.

Without the victim, one filling is as good as another: `draws = 1` is that floor.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from cutlayer.attacks.answers.base import AnswerAttack, Seen
from cutlayer.attacks.answers.view import ClassView, Reply
from cutlayer.errors import ConfigError
from cutlayer.nets.inpainting import Inpainter, learned_inpainter
from cutlayer.options import Count, LearningRate, Size, Weight, Whole
from cutlayer.progress import track


@dataclass(kw_only=True)
class SecretGen(AnswerAttack):
    """Fill the hidden part of pictures.

    Args:
        draws: Fillings of each picture that the victim is asked about.
        latent: Length of the generator's latent vector.
        width: Channels of the generator at full resolution.
        prior_steps: Training steps of the generator.
        steps: Gradient steps, where the attacker holds the weights.
        lr: Learning rate of these.
        confidence_weight: Weight of the negative log-probability in these, beside both critics' scores.
    """

    plain_words = "fills the hidden part of a picture so that the model is sure of whom it shows"
    needs = Reply.SCORES
    sees_masked = True

    draws: Count = 50
    latent: Size = 32
    width: Size = 16
    prior_steps: Whole = 800
    steps: Whole = 100
    lr: LearningRate = 0.02
    confidence_weight: Weight = 100.0

    def invert(self, view: ClassView, seen: Seen) -> Tensor:
        """See `AnswerAttack`.

        Raises:
            ConfigError: No masked picture was seen.
        """
        masked, mask = seen.masked, seen.mask
        if masked is None or mask is None:
            raise ConfigError("secret-gen fills the hidden part of pictures, and none was seen with a part visible.")
        own, random = torch.from_numpy(view.auxiliary.inputs).to(view.device), torch.Generator().manual_seed(view.seed)
        network = learned_inpainter(
            own, mask, latent=self.latent, width=self.width, steps=self.prior_steps, seed=view.seed
        ).to(view.device)
        return torch.cat([self._filled(view, network, part.to(view.device), random) for part in masked.split(_PART)])

    def _filled(self, view: ClassView, network: Inpainter, masked: Tensor, random: torch.Generator) -> Tensor:
        z = torch.randn(self.draws, len(masked), self.latent, generator=random).to(view.device)
        with torch.no_grad():
            scores = torch.stack([_scores(view, network(of, masked)) for of in z])  # (draws, N, classes)
        labels = scores.exp().mean(0).argmax(1)
        sure = scores[:, torch.arange(len(masked)), labels].argmax(0)
        best = z[sure, torch.arange(len(masked))]
        if view.reply is Reply.WEIGHTS:
            best = self._searched(view, network, masked, best, labels)
        with torch.no_grad():
            filled: Tensor = network(best, masked)
        return filled.cpu()

    def _searched(self, view: ClassView, network: Inpainter, masked: Tensor, z: Tensor, labels: Tensor) -> Tensor:
        z = z.clone().requires_grad_()
        adam = torch.optim.Adam([z], self.lr)
        for _ in track(range(self.steps), "filling"):
            with torch.enable_grad():
                images = network(z, masked)
                unsure = -log_softmax(view.model(images).float(), 1)[torch.arange(len(z)), labels]
                loss = (self.confidence_weight * unsure - network.likeness(images)).sum()
            adam.zero_grad()
            loss.backward(inputs=[z])
            adam.step()
        return z.detach()


_PART = 64
"""Pictures that are filled together; bounds the memory."""


def _scores(view: ClassView, images: Tensor) -> Tensor:
    """Log-probabilities on the attacker's device: of the network, which costs no question, or of the service."""
    if view.reply is Reply.WEIGHTS:
        return log_softmax(view.model(images).float(), 1)
    return view.service.scores(images.cpu()).to(view.device)
