"""Generator: search the latent vector of a generated image whose smashed data is what was received, then the image.

    z* = argmin_z ||E(G(z)) - v||^2,    then    x* = argmin_x ||E(x) - v||^2  from  G(z*)

S. Wang, Y. Ji, J. Ma, X. Zhao, "Crafter: Facial Feature Crafting against Inversion-based Identity Theft on Deep
Models", NDSS 2024, https://arxiv.org/abs/2401.07205: its white-box attack, the hybrid one (`pixels`), and the adaptive
ones of its appendix. A1, `crafted`: the attacker has the device release images of its own, finds their z* and trains
the generator to make those images of them. A2: another generator than the defender's, by `latent`, `width` and seed. A3
is `averaging` around this attack. Threat model: the attacker holds the head's weights and generic images.

Differs from the paper:

- The generator is that of `cutlayer.nets.wgan`, the search that of `cutlayer.nets.latent`.
- The search may start several times, and the least loss decides (as Li et al., "GAN You See Me?", GLASS, 2024, search Z
  before they go on from there). To go on in pixels with a prior as well, wrap this attack in `map`.
- A1: z* is always found with the generator as it was, and the trained copy makes the image of it. With one generator
  for both, z* would follow the crafted release to the same wrong image again.
- Whether the trained copy and the steps on pixels help is decided on further images of the attacker's own: without a
  defense the first does harm, with one the second may.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.white_box import freeze
from cutlayer.attacks.queries import release, with_held_out
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.nets.latent import learned
from cutlayer.nets.wgan import normal
from cutlayer.options import Count, LearningRate, Size, Whole
from cutlayer.progress import track

CHUNK = 256
"""Images inverted together."""
REHEARSAL = 16
"""Images of the attacker's own that decide what helps; the generator does not learn from them."""
BATCH, FINE_TUNING_LR = 32, 1e-3
"""Images in a step of RMSProp, and its learning rate, in the fine-tuning of A1 (appendix of the paper)."""


@dataclass(kw_only=True)
class Generator(Attack):
    """Search the latent space of a generator of images like the victim's, through the head.

    Args:
        iterations: Steps of the search (paper: 600).
        latent: Length of a latent vector.
        starts: Searches for each input: from the latent vector that the amortizer gives, then from random ones. The
            one of the least loss is taken.
        width: Channels of generator and critic at full resolution.
        prior_steps: Training steps of the generator.
        pixels: Further steps on the image itself (paper: 150); 0 for none.
        lr: Adam's learning rate on the image (paper: 5e-3).
        crafted: Number of the attacker's images on whose releases the generator is trained further; 0 for none.
        crafted_epochs: Passes over those images.
    """

    plain_words = "finds a generated picture that would have sent the same numbers"
    rebuilds = ("image",)
    needs = Access.WHITE_BOX
    steps_option = "iterations"
    least_steps = 50

    iterations: Count = 200
    latent: Size = 64
    starts: Count = 1
    width: Size = 16
    prior_steps: Count = 400
    pixels: Whole = 150
    lr: LearningRate = 5e-3
    crafted: Whole = 0
    crafted_epochs: Count = 30

    def fit(self, view: View) -> None:
        """Learn the prior, then find out on the attacker's own images which refinements help."""
        self._head, self._seed = freeze(view.head).to(view.device), view.seed
        images, training = with_held_out(view, 0, REHEARSAL)
        images = images.to(view.device)
        shape = tuple(self._head(images[:1]).shape[1:])
        if shape != view.smashed.shape:
            raise ConfigError(
                f"generator needs what arrives, {view.smashed}, to have the shape of the head's output, {shape}; "
                "use another attack for this defense."
            )
        size = {"latent": self.latent, "width": self.width, "steps": self.prior_steps}
        # Not the defender's seed: the attacker does not hold the defender's generator.
        self._prior = learned(self._head, images[:training], view.smashed.shape, seed=view.seed + 1, **size)
        self._generator: nn.Module = self._prior.generator
        self._refines = False
        if not self.crafted and not self.pixels:
            return
        unseen = images[training:][:REHEARSAL]
        own = torch.cat([unseen, images[:training][: self.crafted]])
        smashed = release(view.query, own.cpu(), view.device)
        z, rehearsed, crafted = self._latents(smashed), slice(len(unseen)), slice(len(unseen), None)
        least = self._error(self._generator, z[rehearsed], own[rehearsed])
        if self.crafted:
            tuned = self._fine_tune(z[crafted], own[crafted], view.seed)
            if (error := self._error(tuned, z[rehearsed], own[rehearsed])) < least:
                self._generator, least = tuned, error
        if self.pixels:
            with torch.no_grad():
                start = self._generator(z[rehearsed])
            refined = self._refine(start, smashed[rehearsed])
            self._refines = mse_loss(refined, own[rehearsed]).item() < least

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        received = smashed.to(self._prior.variance)
        return torch.cat([self._invert(part) for part in received.split(CHUNK)]).to(smashed.device)

    def _invert(self, smashed: Tensor) -> Tensor:
        z = self._latents(smashed)
        with torch.no_grad():
            images: Tensor = self._generator(z)
        return self._refine(images, smashed) if self._refines else images

    def _latents(self, smashed: Tensor) -> Tensor:
        """The latent vector z* of each release, ``(N, latent)``."""
        random = torch.Generator().manual_seed(self._seed)
        with torch.no_grad():
            z = self._prior.amortizer(smashed)
        best: Tensor = z
        least = torch.full((len(z),), torch.inf, device=z.device)
        for _ in range(self.starts):
            z = self._prior.search(self._head, smashed, z, self.iterations)
            with torch.no_grad():
                loss = self._prior.loss(self._head, z, smashed)
            best, least = torch.where((loss < least)[:, None], z, best), torch.minimum(loss, least)
            z = normal(1, self.latent, random, z.device).expand(len(z), -1)
        return best

    def _refine(self, images: Tensor, smashed: Tensor) -> Tensor:
        """Continue on the image, ``(N, C, H, W)`` in [0, 1]."""
        x = images.clone().requires_grad_()
        optimizer = torch.optim.Adam([x], self.lr)
        for _ in track(range(self.pixels), "searching the images"):
            (x.grad,) = torch.autograd.grad((self._head(x) - smashed).square().flatten(1).mean(1).sum(), x)
            optimizer.step()
            with torch.no_grad():
                x.clamp_(0, 1)
        return x.detach()

    @torch.no_grad()
    def _error(self, generator: nn.Module, z: Tensor, images: Tensor) -> float:
        return mse_loss(generator(z), images).item()

    def _fine_tune(self, z: Tensor, images: Tensor, seed: int) -> nn.Module:
        """A1: a copy of the generator, trained to make these images of these latent vectors."""
        tuned = copy.deepcopy(self._prior.generator).requires_grad_()
        optimizer = torch.optim.RMSprop(tuned.parameters(), FINE_TUNING_LR)
        random = torch.Generator().manual_seed(seed)
        for _ in track(range(self.crafted_epochs), "fine-tuning the generator"):
            for rows in torch.randperm(len(z), generator=random).to(z.device).split(BATCH):
                loss = mse_loss(tuned(z[rows]), images[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return tuned.requires_grad_(False)
