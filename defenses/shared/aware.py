"""Training of the tail, or of the whole model, behind a defense; and measures of the smashed data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cutlayer.sequences import each_length, lengths

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cutlayer.data.splits import Dataset, Splits
    from cutlayer.models.halves import SplitModel


def adapt(
    split: SplitModel,
    protect: Callable[[Any, np.random.Generator], Any],
    data: Splits,
    *,
    epochs: int,
    seed: int,
    head_too: bool = False,
) -> SplitModel:
    """Train a copy of the tail behind ``protect(head(x))``, with fresh draws for every batch.

    Args:
        split: Trained model, cut; it stays as it is.
        protect: The defense's `protect`; gradients flow through it when the head is trained, too.
        data: Data whose part `train` is used.
        epochs: Passes over the training data; at 0 the split itself is returned.
        seed: Seed of every random choice.
        head_too: Train a copy of the head as well, where the defense bounds what the head gives: an unbounded head
            learns to out-scale noise.
    """
    if epochs == 0:
        return split
    import torch
    from torch import Tensor
    from torch.nn.functional import cross_entropy

    from cutlayer.machine.compute import pick_device, placed
    from cutlayer.training import optimize

    def sent(inputs: Tensor, smashed: Tensor, rng: np.random.Generator) -> Tensor:
        if not split.sequence:
            shielded: Tensor = protect(smashed, rng)
            return shielded
        own = lengths(inputs.cpu().numpy())
        each: Tensor = each_length(lambda rows: protect(rows, rng), smashed, own)
        return each

    head = copy.deepcopy(split.head) if head_too else split.head
    tail, device = copy.deepcopy(split.tail), pick_device()

    def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        with torch.set_grad_enabled(head_too):
            smashed = head(images).float()
        return cross_entropy(tail(sent(images, smashed, rng)).float(), labels)

    with placed(device, head):
        modules = [head, tail] if head_too else [tail]
        optimize(modules, data.train, loss, epochs=epochs, seed=seed, device=device)
    return replace(split, head=head, tail=tail)


def smashed_of(split: SplitModel, data: Dataset, n: int = 1000) -> NDArray[np.float32]:
    """Smashed data of the first `n` images, ``(n, *smashed.shape)``: enough to measure its scale."""
    import torch

    from cutlayer.machine.compute import pick_device, placed

    device = pick_device()
    with placed(device, split.head), torch.inference_mode():
        parts = torch.from_numpy(data.inputs[:n]).split(250)
        return torch.cat([split.head(part.to(device)).float().cpu() for part in parts]).numpy()


def tokens_of(smashed: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows of sentences with padding, one for each token: ``(N, T, width)`` to ``(n, width)``; others as they are.

    Padding is rows of zeros.
    """
    if smashed.ndim != 3 or (here := smashed.any(axis=2)).all():
        return smashed
    rows: NDArray[np.float32] = smashed[here]
    return rows


def snr_db(smashed: NDArray[np.float32], noise_variance: float) -> dict[str, float | str]:
    """The fact `snr_db`: the variance of the smashed data over inputs against that of the noise, in dB.

    The variance is that of each element around its mean over the inputs, because a constant says nothing about an
    input, however large it is; then the mean over the elements. There is no fact without noise or with one input. Of
    sentences with padding it is the variance over all their tokens.
    """
    smashed = tokens_of(smashed)
    variance = float(smashed.var(axis=0, dtype=np.float64).mean()) if len(smashed) > 1 else 0.0
    if variance <= 0 or noise_variance <= 0:
        return {}
    return {"snr_db": 10 * float(np.log10(variance / noise_variance))}
