"""ResSFL: a narrow bottleneck around the cut, trained against a decoder that learns beside it.

J. Li, A. S. Rakin, X. Chen, Z. He, D. Fan, C. Chakrabarti, "ResSFL: A Resistance Transfer Framework for Defending Model
Inversion Attack in Split Federated Learning", CVPR 2022, https://arxiv.org/abs/2205.04007; code
github.com/zlijingtao/ResSFL @68d6165. Attacker-aware training: with smashed data ``z`` and decoder ``D``

    D minimizes -SSIM(D(z), x);    head and tail minimize  CE(y) + weight * max(0, SSIM(D(z), x) - threshold)

and with a threshold of 0 the SSIM itself is added. Resistance transfer: training starts from a head that was hardened
on other data (`source`), which learns slowly (`head_lr_scale`) beside a light decoder that steps once in `every`
batches; theirs are 0.1, ``conv_normN0C16`` and 5. At a `head_lr_scale` of 0 the head is frozen.

Controls: ``weight = 0`` is the bottleneck alone, ``bottleneck = ""`` attacker-aware training alone.

Threat model: an honest-but-curious server that knows the head and can query it, and trains decoders of its own.

Differs from the paper:
    - Training starts from the trained victim around a fresh bottleneck and lasts few epochs (paper: 200, from scratch).
    - AdamW with a one-cycle learning rate (SGD with momentum, 0.05), 64 images in a step (128); the decoder is trained
      for 1 epoch beforehand (30).
    - One client, which is what a deployment is; theirs average the heads of several.
    - The decoder normalizes by the batch (`cutlayer.defenses.shared.surrogate`) and SSIM does not pad
      (`cutlayer.metrics.image`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutlayer.defenses.shared.beside import LearnsBeside
from cutlayer.defenses.surgery.bottleneck import parse
from cutlayer.errors import ConfigError
from cutlayer.options import Batch, Count, Epochs, LearningRate, Weight

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from cutlayer.data.splits import Dataset, Splits
    from cutlayer.defenses.shared.surrogate import Surrogate
    from cutlayer.models.halves import SplitModel

EXPERTS: dict[tuple[str, str], dict[str, Any]] = {
    ("vgg11_bn", "features.3"): {"bottleneck": "noRELU_C1S1", "weight": 0.8},
    ("vgg11_bn", "features.7"): {"bottleneck": "noRELU_C8S1", "weight": 0.3},
    ("vgg11_bn", "features.10"): {"bottleneck": "noRELU_C12S1", "weight": 0.3},
    ("resnet20", "layer1.0"): {"bottleneck": "noRELU_C1S2", "weight": 0.5},
    ("resnet20", "layer1.1"): {"bottleneck": "noRELU_C1S1", "weight": 0.5},
    ("resnet20", "layer1.2"): {"bottleneck": "noRELU_C2S1", "weight": 0.4, "steps": 3},
    ("mobilenet_v2", "features.1"): {"bottleneck": "C1S1", "weight": 0.5},
    ("mobilenet_v2", "features.3"): {"bottleneck": "C2S1", "weight": 0.5, "steps": 3},
    ("mobilenet_v2", "features.6"): {"bottleneck": "C4S1", "weight": 0.3},
}
"""Published options of the experts, by model and cut (their cuts 2, 4, 5 of VGG; 2, 3, 4 of the others).

Their code gives a MobileNetV2 ReLU whatever the name says and a 1x1 convolution for the tail, where ours mirrors the
3x3; and its first layers keep the size of the image, where torchvision's halve it.
"""


@dataclass(kw_only=True)
class ResSFL(LearnsBeside):
    """Narrow the cut by a bottleneck, and train head and tail against a decoder that learns meanwhile.

    Args:
        bottleneck: Name in the notation of `cutlayer.defenses.surgery.bottleneck`; empty for none.
        weight: Weight of the decoder's SSIM beside the cross-entropy; 0 for the bottleneck alone.
        threshold: SSIM below which the decoder's quality costs the head nothing.
        decoder: Name of the defender's decoder in `cutlayer.nets.decoders`.
        steps: Steps of the decoder for each batch at which it learns.
        every: Number of batches from one at which the decoder learns to the next.
        pretrain_epochs: Epochs for which the decoder learns before head and tail do.
        epochs: Passes over the training images.
        lr: Greatest learning rate of the tail.
        batch: The greatest number of images in a step.
        head_lr_scale: Learning rate of the head as a part of `lr`; 0 freezes the head.
        flip: Mirror the images at random, as the victim's training may have done.
        source: Split folder whose weights are the start, hardened with this bottleneck at this cut on other data.
    """

    knob = "weight"
    kinds = ("image",)
    why_only = "it trains against a network that rebuilds pictures"

    bottleneck: str = "noRELU_C8S1"  # VGG-11-BN, cut 4: Tables 3 and 6
    weight: Weight = 0.3  # VGG-11-BN, cut 4: Tables 3 and 6
    threshold: Weight = 0.5  # all of Tables 2 to 6
    decoder: str = "res_normN4C64"  # all of Tables 2 to 6
    steps: Count = 1
    every: Count = 1
    pretrain_epochs: Epochs = 1
    epochs: Epochs = 4
    lr: LearningRate = 2e-3
    batch: Batch = 64
    head_lr_scale: Weight = 1.0
    flip: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        self._bottleneck = parse(self.bottleneck) if self.bottleneck else None
        if (
            min(self.weight, self.threshold, self.head_lr_scale, self.pretrain_epochs, self.epochs) < 0
            or min(self.steps, self.every, self.lr, self.batch) <= 0
        ):
            raise ConfigError(f"{self!r}: steps, every, lr and batch must be above 0, the other numbers 0 or more.")
        if self.weight and not self.head_lr_scale:
            raise ConfigError(
                f"{self!r}: with head_lr_scale=0 the head is frozen and cannot be trained against the decoder; set "
                "weight to 0 or head_lr_scale above 0."
            )

    @property
    def further_epochs(self) -> int:
        """Passes over the training part; see the base."""
        return self.epochs if self.bottleneck or self.weight or self.source else 0

    def surgery(self, split: SplitModel) -> SplitModel:
        """The bottleneck, if any, with weights that have seen no image."""
        return self._narrowed(split, seed=0) if self.bottleneck else split

    def harden(self, split: SplitModel, data: Splits, seed: int) -> SplitModel:
        """Surgery, transfer, and attacker-aware training of both halves."""
        if not (self.bottleneck or self.weight or self.source):
            return split
        from cutlayer.defenses.shared.surrogate import Surrogate
        from cutlayer.machine.compute import pick_device, placed
        from cutlayer.models.halves import copied

        hardened = self._narrowed(split, seed) if self.bottleneck else copied(split)
        if self.source:
            inherit(hardened, Path(self.source))
        device = pick_device()
        surrogate = None
        if self.weight:
            surrogate = Surrogate(self.decoder, hardened.smashed.shape, hardened.input.shape, seed, device)
            with placed(device, hardened.head):
                surrogate.pretrain(hardened.head, data.train, self.pretrain_epochs, self.batch)
        self.train(hardened, surrogate, data.train, seed, device)
        return hardened

    def train(
        self, split: SplitModel, surrogate: Surrogate | None, data: Dataset, seed: int, device: torch.device
    ) -> None:
        """Train the halves on their task, and against the decoder where there is one, which learns meanwhile."""
        from torch.nn.functional import cross_entropy

        from cutlayer.training import optimize

        batches = 0

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            nonlocal batches
            smashed = split.head(images)
            task = cross_entropy(split.tail(smashed).float(), labels)
            if surrogate is None:
                return task
            batches += 1
            return task + self._term(surrogate, smashed, images, batches - 1)

        rates = [self.lr * self.head_lr_scale, self.lr]
        optimize(
            [split.head, split.tail], data, loss,
            epochs=self.epochs, seed=seed, lr=rates, batch=self.batch, flip=self.flip, device=device,
        )  # fmt: skip

    def penalty(self, inputs: Tensor, smashed: Tensor) -> Tensor | None:
        """What the decoder's quality costs the head, after it has learned from the batch; see the base."""
        if not self.weight:
            return None
        surrogate, batches = self.beside(inputs, smashed)
        return self._term(surrogate, smashed, inputs, batches)

    def _term(self, surrogate: Surrogate, smashed: Tensor, images: Tensor, batches: int) -> Tensor:
        for _ in range(self.steps if batches % self.every == 0 else 0):
            surrogate.learn(smashed, images)
        leak = surrogate.quality(smashed, images)
        return self.weight * ((leak - self.threshold).relu() if self.threshold else leak)

    def _narrowed(self, split: SplitModel, seed: int) -> SplitModel:
        """Copies of the halves with a fresh bottleneck between them."""
        import torch

        from cutlayer.defenses.surgery.bottleneck import build
        from cutlayer.models.halves import graft

        assert self._bottleneck is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            to_head, to_tail = build(self._bottleneck, split.smashed.shape)
        narrow = graft(split, "bottleneck", to_head=to_head, to_tail=to_tail)
        return replace(narrow, smashed=replace(narrow.smashed, low=0.0)) if self._bottleneck.relu else narrow


def inherit(split: SplitModel, source: Path) -> None:
    """Load the weights of a hardened split folder: the whole head, and those of the tail that have the same shape.

    Raises:
        ConfigError: Its head has another cut, other layers, or smashed data of another shape.
    """
    from cutlayer.split_folder import open_split

    expert = open_split(source).halves()
    if (expert.cut, expert.smashed) != (split.cut, split.smashed):
        raise ConfigError(
            f"No transfer: the head in {source} sends {expert.smashed} at {expert.cut}, this one {split.smashed} at "
            f"{split.cut}. Give a source with the same model, cut and bottleneck."
        )
    try:
        split.head.load_state_dict(expert.head.state_dict())
    except RuntimeError:
        raise ConfigError(
            f"No transfer: the head in {source} has other layers than this one. Give a source with the same model."
        ) from None
    # The last layer has one row for each class, of which there may be more or fewer here.
    own = split.tail.state_dict()
    fitting = {name: w for name, w in expert.tail.state_dict().items() if name in own and own[name].shape == w.shape}
    split.tail.load_state_dict(own | fitting)
