"""Learning to Invert: a network from gradients to the samples, trained on gradients of the attacker's own.

R. Wu, X. Chen, C. Guo, K. Q. Weinberger, "Learning to Invert: Simple Adaptive Attacks for Gradient Inversion in
Federated Learning", UAI 2023, https://arxiv.org/abs/2210.10880; code https://github.com/wrh14/Learning_to_Invert,
commit a3464c5. The gradients go through the clients' defense first, which the network learns to undo. For a batch of
several the loss pairs what the network gives with the samples so that the error is least.

Published settings: two layers of 3,000, Adam with 1e-4 and a tenth of it in the last quarter, batches of 256, 200
epochs on 50,000 images, 5,000 for a batch of several.

Differs from the paper: 1,000 wide and 60 epochs, for a processor, with AdamW and a cycle of learning rates; the last
epoch is kept, where the authors' code keeps the one with the least error on the images that are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.learned import Scale, examples, flat, for_each_kind
from cutlayer.attacks.gradients.update import as_gradient, in_range
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.data.splits import Dataset
from cutlayer.options import Batch, Count, Epochs, LearningRate, Size
from cutlayer.training import optimize


@dataclass(kw_only=True)
class LearningToInvert(UpdateAttack):
    """Train a network on gradients of the attacker's own samples to give the samples.

    Args:
        n: Gradients to learn from.
        numbers: Numbers of a gradient at most; a longer one is hashed to so many.
        width: Width of its two hidden layers.
        epochs: Passes over the gradients.
        batch: Gradients in a step.
        lr: The greatest learning rate.
    """

    plain_words = "a neural network trained to turn gradients back into the samples"

    n: Count = 3000
    numbers: Size = 4096
    width: Size = 1000
    epochs: Epochs = 60
    batch: Batch = 256
    lr: LearningRate = 1e-3

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base."""
        found = []
        for network, observation in for_each_kind(observations, lambda like: self._fit(view, like)):
            samples = network(flat(as_gradient(observation), self.numbers)[None])
            found.append(Recovered(in_range(samples.reshape(-1, *view.input.shape), view.input)))
        return found

    def _fit(self, view: UpdateView, like: Observation) -> Callable[[Tensor], Tensor]:
        pairs = examples(view, like, self.n, lambda gradient: flat(gradient, self.numbers))
        scaled = Scale(pairs.gradients)
        rows, targets = scaled(pairs.gradients), pairs.inputs.flatten(2).to(view.device)
        low, high = targets.min(), targets.max()
        with torch.random.fork_rng([]):
            torch.manual_seed(view.seed)
            network = nn.Sequential(
                nn.Linear(rows.shape[1], self.width), nn.ReLU(), nn.Linear(self.width, self.width), nn.ReLU(),
                nn.Linear(self.width, targets[0].numel()), nn.Sigmoid(),
            )  # fmt: skip

        def loss(gradients: Tensor, index: Tensor, rng: np.random.Generator) -> Tensor:
            found = network(gradients).float().reshape(len(index), like.samples, -1)
            values = low + (high - low) * found
            return functional.mse_loss(values, paired(targets[index], values))

        data = Dataset(rows.numpy(), np.arange(len(rows)))
        optimize(
            [network], data, loss, epochs=self.epochs, seed=view.seed, lr=self.lr, batch=self.batch, device=view.device
        )

        @torch.no_grad()
        def run(row: Tensor) -> Tensor:
            found: Tensor = network(scaled(row))
            return low.cpu() + (high - low).cpu() * found

        return run


def paired(samples: Tensor, found: Tensor) -> Tensor:
    """The samples ``(N, B, P)``, each batch in the order in which its mean squared error to `found` is least."""
    if samples.shape[1] == 1:
        return samples
    # The squares of the samples and of what is found are in every pairing.
    gains = (found.detach().float() @ samples.transpose(1, 2)).float().cpu().numpy()
    order = np.stack([linear_sum_assignment(-each)[1] for each in gains])
    return samples.gather(1, torch.from_numpy(order).to(samples.device)[:, :, None].expand_as(samples))
