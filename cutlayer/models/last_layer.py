"""The last layer of a model that was trained elsewhere, to be trained alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import fx, nn

from cutlayer.data.splits import Dataset
from cutlayer.models.cuts import cut_nodes
from cutlayer.models.halves import split_at
from cutlayer.progress import track
from cutlayer.sequences import lengths, trimmed
from cutlayer.spec import TensorSpec

CHUNK = 64
"""Samples that are computed at a time."""


def last_layer(model: fx.GraphModule, input: TensorSpec, data: Dataset) -> tuple[nn.Module, Dataset]:
    """What comes after the last cut of a model, and what it takes for each sample.

    All before the cut stays as it is, so that it is computed once for each sample, and not in each step.

    Args:
        model: The model, with which the returned part shares its parameters.
        input: One input.
        data: Samples of the model.

    Returns:
        The part, and the samples with its inputs ``(N, *smashed.shape)`` in place of their own.
    """
    halves = split_at(model, *cut_nodes(model, input)[-1], input)
    inputs = np.empty((len(data), *halves.smashed.shape), np.float32)
    # Sentences of about one length together, so that little padding is computed.
    order = np.argsort(lengths(data.inputs), kind="stable") if input.is_tokens else np.arange(len(data))
    with torch.inference_mode():
        for at in track(np.array_split(order, -(-len(data) // CHUNK)), "vectors of the training part"):
            part = trimmed(data.inputs[at]) if input.is_tokens else data.inputs[at]
            inputs[at] = halves.head(torch.from_numpy(part)).numpy()
    return halves.tail, Dataset(inputs, data.labels, data.modality, data.groups)


@contextmanager
def standardized(layer: nn.Module, data: Dataset) -> Iterator[Dataset]:
    """The same samples, each number with mean 0 and deviation 1, for the block; the layer then takes these.

    The vectors of a language model differ little from each other beside what they have in common, so that a linear
    layer learns slowly from them as they are. At the end the layer takes them as they are again.

    Args:
        layer: A module with one linear layer, which comes first.
        data: Samples whose inputs ``(N, width)`` it takes.
    """
    (linear,) = (module for module in layer.modules() if isinstance(module, nn.Linear))
    # Without a bias nothing can stand for the mean.
    mean, std = data.inputs.mean(axis=0) * (linear.bias is not None), data.inputs.std(axis=0)
    scale = np.where(std > 1e-6 * std.max(), std, 1).astype(np.float32)
    center, by = torch.from_numpy(mean), torch.from_numpy(scale)
    with torch.no_grad():
        if linear.bias is not None:
            linear.bias.add_(linear.weight @ center)
        linear.weight.mul_(by)
    yield Dataset((data.inputs - mean) / scale, data.labels, data.modality, data.groups)
    with torch.no_grad():
        linear.weight.div_(by)
        if linear.bias is not None:
            linear.bias.sub_(linear.weight @ center)
