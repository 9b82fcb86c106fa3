"""The defender's own attacker: a decoder that is trained beside the head, and measures how much can be rebuilt.

Attacker-aware defenses play a game in each step: the decoder D takes a step towards the images x,

    D <- D - lr * grad mean(1 - SSIM(D(z), x))                   z: the smashed data, held fixed

and the head then a step away from what D rebuilds, by the gradient of `quality` in z (Li et al., ResSFL, CVPR 2022;
code github.com/zlijingtao/ResSFL @68d6165, `gan_train_step` and `train_target_step`).

The decoder normalizes by the statistics of the batch in both steps. With running statistics the head could win by
moving and scaling its output faster than they follow, which does not hinder an attacker that trains afterwards. A head
that beats its surrogate may lose to a fresh, larger decoder: judge a defense by the attacks, never by this.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError
from cutlayer.machine.compute import autocast
from cutlayer.metrics.image import structural_similarity
from cutlayer.nets.decoders import build
from cutlayer.nets.grid import standardize
from cutlayer.progress import track

MEASURES = ("ssim", "mse")


class Surrogate:
    """A decoder in training, with its optimizer.

    Args:
        capacity: Name of a decoder in `cutlayer.nets.decoders`.
        smashed: Shape of the smashed data, without the batch axis.
        image: Shape ``(C, H, W)`` of an image.
        seed: Seed of the weights, and of the order of the images in `pretrain`.
        device: Where the decoder computes; its inputs must be there.
        measure: ``ssim`` or ``mse``, which it optimizes and which `quality` returns.
        lr: Adam's learning rate.

    Attributes:
        network: ``(N, *smashed)`` to ``(N, *image)``.
    """

    def __init__(
        self,
        capacity: str,
        smashed: tuple[int, ...],
        image: tuple[int, ...],
        seed: int,
        device: torch.device,
        measure: str = "ssim",
        lr: float = 1e-3,
    ) -> None:
        if measure not in MEASURES:
            raise ConfigError(f"The measure of a surrogate must be {' or '.join(MEASURES)}, not {measure!r}.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(capacity, smashed, image)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.measure, self.seed, self.device = measure, seed, device
        self._optimizer = torch.optim.Adam(network.parameters(), lr)

    def state(self) -> dict[str, Tensor]:
        """Copies of the weights, and of what the optimizer remembers, by name."""
        found = {f"network/{name}": value.detach().clone() for name, value in self.network.state_dict().items()}
        for number, parameter in enumerate(self.network.parameters()):
            for slot, value in self._optimizer.state.get(parameter, {}).items():
                found[f"optimizer/{number}/{slot}"] = torch.as_tensor(value).clone()
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Undo `state`."""
        prefix = "network/"
        self.network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        for number, parameter in enumerate(self.network.parameters()):
            slots = {k.rpartition("/")[2]: v for k, v in state.items() if k.startswith(f"optimizer/{number}/")}
            if slots:
                self._optimizer.state[parameter] = {
                    slot: value.clone() if value.dim() == 0 else torch.empty_like(parameter).copy_(value)
                    for slot, value in slots.items()
                }

    def learn(self, smashed: Tensor, images: Tensor) -> Tensor:
        """Take one step towards a better attacker.

        Args:
            smashed: ``(N, *smashed)``; no gradient reaches it.
            images: ``(N, *image)`` in [0, 1].

        Returns:
            The quality before the step.
        """
        smashed = smashed.detach()
        standardize(self.network, smashed.float())
        self.network.requires_grad_(True)
        quality = self._rate(smashed, images)
        self._optimizer.zero_grad()
        # The caller may have autocast on, which is for forward passes.
        with torch.autocast(self.device.type, enabled=False):
            torch.autograd.backward(-quality)
        self._optimizer.step()
        # Until the caller leaves autocast, its copies of the weights stay those from before this step.
        torch.clear_autocast_cache()
        return quality.detach()

    def quality(self, smashed: Tensor, images: Tensor) -> Tensor:
        """Mean SSIM, or the negative mean squared error, of the rebuilt images: a high value is bad for the head.

        It is differentiable in `smashed`; the decoder's own weights get no gradient.
        """
        self.network.requires_grad_(False)
        return self._rate(smashed, images)

    def pretrain(self, release: Callable[[Tensor], Tensor], data: Dataset, epochs: int, batch: int = 64) -> None:
        """Learn for some epochs from a head that does not move.

        Args:
            release: Function from images ``(N, *image)`` on the device to smashed data ``(N, *smashed)``.
            data: Data set whose images it learns to rebuild.
            epochs: Passes over the images.
            batch: Greatest number of images in a step; the images of an epoch are spread evenly over the steps.
        """
        rng, images = np.random.default_rng(self.seed), torch.from_numpy(data.inputs).to(self.device)
        for _ in track(range(epochs), "training the decoder of the defense"):
            for index in track(np.array_split(rng.permutation(len(data)), -(-len(data) // batch))):
                x = images[torch.from_numpy(index).to(self.device)].contiguous(memory_format=torch.channels_last)
                with torch.no_grad(), autocast(self.device):
                    smashed = release(x)
                self.learn(smashed, x)

    def _rate(self, smashed: Tensor, images: Tensor) -> Tensor:
        self.network.train()
        with autocast(self.device):
            rebuilt: Tensor = self.network(smashed.float()).float()
        if self.measure == "mse":
            return -(rebuilt - images).square().mean()
        return structural_similarity(rebuilt, images).mean()
