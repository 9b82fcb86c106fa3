"""Decoder: a network trained to turn smashed data back into images.

    g* = argmin  (1/n) sum_i ||g(wire(x_i)) - x_i||^2          (He, Zhang, Lee, ACSAC 2019, section 4.2, eq. 5)

Zecheng He, Tianwei Zhang, Ruby B. Lee. Model Inversion Attacks Against Collaborative Inference, ACSAC 2019; code
github.com/zechenghe/Inverse_Collaborative_Inference @f010aed. Stronger networks: ResSFL, see
`cutlayer.nets.decoders`. Threat model: the attacker queries the device's head and defense with its own images, or
with noise where it has none.

Differs from the papers:

- Defense-aware: the network learns from what is on the wire; of a random defense it sees fresh noise in every epoch.
- Adam's learning rate starts at 5e-3 (papers: 1e-3) and falls to zero along a cosine, because there are few epochs.
  `schedule = "constant"` and `lr = 1e-3` are those of the papers.
- With `varied`, every epoch sees other images, made of the attacker's own: whoever may query has them released as well,
  and a network learns more from many images than from few.
- The epoch kept is the one with the least error over all held-out images, in eval mode (ResSFL: one batch, train mode).
- Noise images are clipped to [0, 1], the only values that a device accepts.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from cutlayer.attacks.base import Attack
from cutlayer.attacks.queries import HELD_OUT, release, varied, with_held_out
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.machine.compute import autocast, fastest_layout
from cutlayer.nets.decoders import build, parse
from cutlayer.nets.grid import parted, standardize
from cutlayer.nets.together import share, together
from cutlayer.options import Batch, Count, LearningRate, Whole
from cutlayer.progress import note, track

CHUNK = 512
"""Releases decoded at a time; bounds the memory."""
SOURCES = ("images", "noise")
SCHEDULES = ("cosine", "constant")


@dataclass(kw_only=True)
class Decoder(Attack):
    """Train a decoder on the auxiliary images and what the server receives for them.

    Args:
        capacity: Name of a network in `cutlayer.nets.decoders`. A weak decoder makes a weak defense look strong.
        epochs: Passes over the attacker's images.
        lr: Adam's learning rate at its highest.
        batch: Images per step.
        auxiliary: ``images``, the attacker's own, or ``noise``, Gaussian images instead (the random set of He et al.).
        n_auxiliary: Images used; 0 for all that the attacker has.
        n_queries: Fresh releases of each image from a random defense, at most; 0 for one in every epoch.
        schedule: How the learning rate falls: ``cosine``, to zero, or ``constant``, not at all.
        varied: Whether every epoch queries with variations of the attacker's images in place of the images themselves;
            see `cutlayer.attacks.queries.varied`. It asks for `epochs` times as many releases.
    """

    plain_words = "a neural network trained to turn what was sent back into pictures"
    rebuilds = ("image",)
    needs = Access.BLACK_BOX
    steps_option = "epochs"
    least_steps = 2

    capacity: str = "res_normN4C64"  # ResSFL, the strongest of its Table 4
    epochs: Count = 20
    lr: LearningRate = 5e-3
    batch: Batch = 64
    auxiliary: str = "images"
    n_auxiliary: Whole = 0
    n_queries: Whole = 0
    schedule: str = "cosine"
    varied: bool = False

    def __post_init__(self) -> None:
        parse(self.capacity)
        if self.auxiliary not in SOURCES:
            raise ConfigError(f"decoder.auxiliary must be one of {', '.join(SOURCES)}, not {self.auxiliary!r}.")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"decoder.schedule must be one of {', '.join(SCHEDULES)}, not {self.schedule!r}.")

    @property
    def keeps_apart(self) -> bool:
        """Whether the images that are held out are those of all attacks."""
        return not self.n_auxiliary

    @property
    def decoders(self) -> tuple[str, ...]:
        """The one of this capacity."""
        return (self.capacity,)

    def fit(self, view: View) -> None:
        """Train; keep the epoch that does best on held-out images."""
        generator = torch.Generator().manual_seed(view.seed)
        images, training = with_held_out(view, self.n_auxiliary, HELD_OUT)
        if self.auxiliary == "noise":
            images = torch.empty_like(images).normal_(0.5, 0.5, generator=generator).clamp_(0, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)
            network = build(self.capacity, view.smashed.shape, view.input.shape)
        network.to(view.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.to(view.device)
        smashed = release(view.query, images, view.device)
        standardize(network, smashed[:CHUNK])
        fixed, body = parted(network)
        smashed = _applied(fixed, smashed)
        least, best = torch.inf, copy.deepcopy(network.state_dict())
        learned, arrived, held_out = images[:training], smashed[:training], smashed[training:]
        optimizer = torch.optim.Adam(network.parameters(), self.lr, fused=True)
        steps = max(1, self.epochs * -(-training // self.batch))
        least_share = 0.0 if self.schedule == "cosine" else 1.0
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=least_share * self.lr)
        with together(body) as learner:
            for epoch in track(range(self.epochs), "training the decoder"):
                if self.varied:
                    learned = varied(images[:training].cpu(), generator).to(view.device)
                    arrived = _applied(fixed, release(view.query, learned, view.device))
                elif epoch and view.random and (epoch < self.n_queries or not self.n_queries):
                    arrived = _applied(fixed, release(view.query, learned, view.device))
                network.train()
                for rows in track(
                    torch.split(torch.randperm(training, generator=generator).to(view.device), self.batch)
                ):
                    mine, part = share(rows)
                    with autocast(view.device):
                        output = learner(arrived[mine])
                    loss = part * mse_loss(output.float(), learned[mine])
                    optimizer.zero_grad(set_to_none=True)
                    torch.autograd.backward(loss)
                    optimizer.step()
                    schedule.step()
                with autocast(view.device):
                    decoded = _decode(body, held_out)
                error = float(mse_loss(decoded, images[training:]))
                note(f"error on held-out images {error:.4f}")
                if error < least:  # never where it is not a number
                    least, best = error, copy.deepcopy(network.state_dict())
        network.load_state_dict(best)
        self._network = network.eval()

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        device = next(self._network.parameters()).device
        return _decode(self._network, smashed.to(device)).clamp(0, 1).to(smashed.device)


@torch.inference_mode()
def _decode(network: nn.Module, smashed: Tensor) -> Tensor:
    """``(N, *smashed.shape)`` -> ``(N, C, H, W)`` in float32 and eval mode."""
    network.eval()
    return torch.cat([network(part).float().contiguous() for part in torch.split(smashed, CHUNK)])


@torch.no_grad()
def _applied(fixed: nn.Module, smashed: Tensor) -> Tensor:
    """What layers without weights make of smashed data, in the layout that the layers behind them prefer."""
    made = torch.cat([fixed(part) for part in torch.split(smashed, CHUNK)])
    return made.contiguous(memory_format=fastest_layout(made.ndim))
