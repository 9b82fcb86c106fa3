"""Rebuild the inputs of a client while the split model is trained, with a substitute of the client's head.

The server trains, on inputs of its own: a substitute head, whose features the current tail shall classify; an
alignment of these features with those that arrive; and a decoder from the features to the inputs. The decoder is then
applied to what arrived. Each published system is one of five alignments with its options, as `SYSTEMS` has them:

``none``
    The tail alone aligns. PCAT (X. Gao, L. Zhang, "PCAT: Functionality and Data Stealing from Split Learning by
    Pseudo-Client Attack", USENIX Security 2023); the naive row of SDAR.
``gan``, ``gan+label``
    A critic tells the features apart, with ``+label`` for each class. A second critic compares decoded features with
    the server's inputs. SDAR (X. Zhu, X. Luo, Y. Wu, Y. Jiang, X. Xiao, B. C. Ooi, "Passive Inference Attacks on Split
    Learning via Adversarial Regularization", NDSS 2025; github.com/zhxchd/SDAR_SplitNN).
``mmd``
    A critic and the maximum mean discrepancy; no task. FORA (X. Xu, M. Yang, W. Yi, Z. Li, J. Wang, H. Hu, Y. Zhuang,
    Y. Liu, "A Stealthy Wrongdoer: Feature-Oriented Reconstruction Attack against Split Learning", CVPR 2024).
``hijack``
    The server is active: in place of the gradient of the task it sends that of a critic, which drives the client's
    features into the space of the substitute, here called pilot. FSHA (D. Pasquini, G. Ateniese, M. Bernaschi,
    "Unleashing the Tiger: Inference Attacks on Split Learning", CCS 2021; github.com/pasquini-dario/SplitNN_FSHA).

Threat model: an honest-but-curious server, with ``hijack`` an active one, that holds labelled inputs like the clients'.
``head = "same"`` also needs the architecture of the head.

Differs from the papers: inputs are in [0, 1]. All share one critic (`cutlayer.attacks.training.critics`), which knows a
class by projection, and the decoders of `cutlayer.nets.decoders`; SDAR's decoder is also given the class. The learning
rates are the authors', which belong to 10,000 steps and more; for fewer, set greater ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.attacks.training.critics import Critic, deceived, gradient_penalty, mk_mmd, told_apart
from cutlayer.attacks.training.view import TrainingAttack, TrainingView
from cutlayer.errors import ConfigError, near
from cutlayer.nets import shadow
from cutlayer.nets.decoders import build, parse
from cutlayer.options import Batch, Count, LearningRate, Weight

ALIGNMENTS = ("none", "gan", "gan+label", "mmd", "hijack")
HEADS = ("same", "shadow")

SYSTEMS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "naive": {"alignment": "none", "image_critic": 0.0},
        "pcat": {"alignment": "none", "image_critic": 0.0, "head": "shadow"},
        "sdar": {"alignment": "gan+label"},
        "fora": {"alignment": "mmd", "task": 0.0, "align": 0.8, "image_critic": 0.0, "head": "shadow"},
        "fsha": {"alignment": "hijack", "lr": 1e-5, "decoder_lr": 1e-5, "critic_lr": 1e-4, "head": "shadow"},
    }
)
"""The options of each published system, beside those that are the defaults."""


FEW_STEPS: Mapping[str, Any] = MappingProxyType(
    {
        "lr": 1e-3, "decoder_lr": 2e-3, "critic_lr": 1e-3, "image_critic_lr": 1e-4, "capacity": "he-small", "width": 16,
        "batch": 32,
    }
)  # fmt: skip
"""Options for some hundred steps, in which the published ones learn nothing."""


@dataclass(kw_only=True)
class TrainingInversion(TrainingAttack):
    """Train a substitute head and a decoder beside the split model.

    Args:
        alignment: How the substitute's features come to resemble the client's, one of `ALIGNMENTS`.
        head: Whether the substitute has the ``same`` architecture as the client's head, or is a ``shadow`` of its own.
        task: Weight of the task's loss through the server's tail.
        align: Weight of the alignment.
        image_critic: Weight of the critic of decoded images.
        capacity: Name of the decoder, see `cutlayer.nets.decoders`.
        lr: Learning rate of the substitute.
        decoder_lr: That of the decoder.
        critic_lr: That of the critic of features.
        image_critic_lr: That of the critic of images.
        penalty: Weight of the gradient penalty of ``hijack``.
        width: Channels of the critics.
        batch: Number of the server's own inputs in a step.
        repeats: Steps for each batch that arrives.
    """

    plain_words = "trains an imitation of the device's layers beside the model, and a decoder behind it"

    alignment: str = "gan+label"
    head: str = "same"
    task: Weight = 1.0
    align: Weight = 0.02  # SDAR, lambda_1
    image_critic: Weight = 2e-5  # SDAR, lambda_2
    capacity: str = "conv_normN2C32"
    lr: LearningRate = 1e-3
    decoder_lr: LearningRate = 5e-4
    critic_lr: LearningRate = 2e-5
    image_critic_lr: LearningRate = 1e-8
    penalty: Weight = 500.0  # FSHA
    width: Count = 64
    batch: Batch = 64
    repeats: Count = 1

    def __post_init__(self) -> None:
        for option, value, known in (("alignment", self.alignment, ALIGNMENTS), ("head", self.head, HEADS)):
            if value not in known:
                text = f"training-inversion.{option} must be one of {', '.join(known)}; {value!r:.80} was given."
                raise ConfigError(text)
        parse(self.capacity)

    def begin(self, view: TrainingView) -> None:
        """See the base."""
        image, smashed = view.input.shape, view.smashed.shape
        classes = view.classes if self.alignment == "gan+label" else 0
        with torch.random.fork_rng([view.device] if view.device.type == "cuda" else [], device_type="cuda"):
            torch.manual_seed(view.seed)
            if self.head == "same":
                self._head = view.new_head()
            else:
                self._head = shadow.build("", image, smashed, positive=view.smashed.low == 0)
            self._decoder = build(self.capacity, smashed, image)
            self._critic = Critic(smashed, classes, self.width)
            self._image_critic = Critic(image, classes, self.width)
        networks = self._head, self._decoder, self._critic, self._image_critic
        rates = self.lr, self.decoder_lr, self.critic_lr, self.image_critic_lr
        self._steps = []
        # A critic whose gradient is penalized is trained without momentum, as in Gulrajani et al., Algorithm 1.
        betas = (0.0, 0.9) if self.alignment == "hijack" else (0.9, 0.999)
        for network, rate in zip(networks, rates, strict=True):
            network.to(view.device).train()
            of = betas if network is self._critic else (0.9, 0.999)
            self._steps.append(torch.optim.Adam(network.parameters(), rate, betas=of))
        self._inputs = torch.from_numpy(view.auxiliary.inputs).to(view.device)
        self._labels = torch.from_numpy(view.auxiliary.labels).to(view.device)
        self._rng = np.random.default_rng(view.seed)
        self._random = torch.Generator().manual_seed(view.seed)
        self._device = view.device

    def step(self, smashed: Tensor, labels: Tensor | None, tail: nn.Module) -> Tensor | None:
        """See the base.

        Raises:
            ConfigError: The alignment is by class, and the labels stay with the client.
        """
        if self.alignment == "gan+label" and labels is None:
            raise ConfigError("gan+label compares features of one class, and the labels stay with the client; use gan.")
        arrived = smashed.detach().to(self._device)
        theirs = labels.to(self._device) if labels is not None and self.alignment == "gan+label" else None
        for _ in range(self.repeats):
            chosen = torch.from_numpy(self._rng.integers(len(self._inputs), size=self.batch)).to(self._device)
            inputs, ours = self._inputs[chosen], self._labels[chosen]
            of_class = ours if theirs is not None else None
            features = self._head(inputs)
            if self.alignment == "hijack":
                self._learn_pilot(inputs, features)
                self._learn_hijack(arrived, features.detach())
            else:
                self._learn_substitute(arrived, theirs, features, ours, of_class, tail)
                self._learn_decoder(arrived, theirs, inputs, features.detach(), of_class)
        if self.alignment != "hijack":
            return None
        leaf = arrived.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self._critic(leaf).mean(), leaf)
        return gradient.to(smashed.device)

    def invert(self, smashed: Tensor) -> Tensor:
        """See the base."""
        self._decoder.eval()
        with torch.no_grad():
            images: Tensor = torch.cat([self._decoder(part.to(self._device)) for part in smashed.split(500)])
        self._decoder.train()
        return images.clamp(0, 1).to(smashed.device)

    # The parts of a step.

    def _learn_pilot(self, inputs: Tensor, features: Tensor) -> None:
        """Pilot and decoder are an autoencoder of the server's inputs."""
        self._apply(functional.mse_loss(self._decoder(features), inputs), 0, 1)

    def _learn_hijack(self, arrived: Tensor, features: Tensor) -> None:
        """The critic scores the pilot's features low and the client's high; the client is made to lower its score."""
        n = min(len(arrived), len(features))
        penalty = gradient_penalty(self._critic, features[:n], arrived[:n], self._random)
        loss = self._critic(features).mean() - self._critic(arrived).mean() + self.penalty * penalty
        self._apply(loss, 2)

    def _learn_substitute(
        self,
        arrived: Tensor,
        theirs: Tensor | None,
        features: Tensor,
        ours: Tensor,
        of_class: Tensor | None,
        tail: nn.Module,
    ) -> None:
        """The task through the tail, which stays as it is, and the alignment."""
        loss = features.new_zeros(())
        if self.task:
            loss = loss + self.task * functional.cross_entropy(_through(tail, features), ours)
        if self.alignment != "none":
            loss = loss + self.align * deceived(self._critic(features, of_class))
        if self.alignment == "mmd":
            n = min(len(arrived), len(features))
            loss = loss + self.align * mk_mmd(arrived[:n], features[:n])
        self._apply(loss, 0)
        if self.alignment != "none":
            scores = self._critic(arrived, theirs), self._critic(features.detach(), of_class)
            self._apply(told_apart(*scores), 2)

    def _learn_decoder(
        self, arrived: Tensor, theirs: Tensor | None, inputs: Tensor, features: Tensor, of_class: Tensor | None
    ) -> None:
        loss = functional.mse_loss(self._decoder(features), inputs)
        if not self.image_critic:
            self._apply(loss, 1)
            return
        decoded = self._decoder(arrived)
        self._apply(loss + self.image_critic * deceived(self._image_critic(decoded, theirs)), 1)
        scores = self._image_critic(inputs, of_class), self._image_critic(decoded.detach(), theirs)
        self._apply(told_apart(*scores), 3)

    def _apply(self, loss: Tensor, *of: int) -> None:
        """Take a step of the networks of these numbers: substitute, decoder, critic of features, critic of images."""
        steps = [self._steps[number] for number in of]
        parameters = [p for step in steps for group in step.param_groups for p in group["params"]]
        for step in steps:
            step.zero_grad()
        loss.backward(inputs=parameters)
        for step in steps:
            step.step()


def system(name: str, **options: Any) -> TrainingInversion:
    """A published system by its name in `SYSTEMS`, with other options.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in SYSTEMS:
        raise ConfigError(f"There is no system named {name!r:.80}; {near(name, SYSTEMS)}")
    return TrainingInversion(**{**SYSTEMS[name], **options})


def _through(tail: nn.Module, features: Tensor) -> Tensor:
    """The logits of a tail that stays as it is: neither its mode, its statistics nor its gradients change."""
    training = tail.training
    tail.eval()
    logits: Tensor = tail(features)
    tail.train(training)
    return logits
