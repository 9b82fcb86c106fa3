"""Weighted means of weights and sums of gradients, the same whatever order they arrived in."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def averaged(states: Mapping[int, Mapping[str, Tensor]], weights: Mapping[int, float]) -> dict[str, Tensor]:
    """The weighted mean of the states of several clients, each name over the clients that have it.

    Sums are float64, in ascending order of the clients. Integers, such as the number of batches that a batch
    normalization has seen, take their maximum. The result shares no memory with what it is computed from.

    Args:
        states: The states by client, each ``{name: tensor}``; a client may lack names, as its cut lies elsewhere.
        weights: The weight of each client, such as its number of samples. Those who have a name share it in proportion.

    Raises:
        ValueError: Two clients have tensors of different shapes or types under one name, or all weights of a name are
            0.
    """
    names = dict.fromkeys(name for client in sorted(states) for name in states[client])
    mean: dict[str, Tensor] = {}
    for name in names:
        holders = [client for client in sorted(states) if name in states[client] and weights[client] > 0]
        if not holders:
            raise ValueError(f"No client with {name!r} has a weight above 0.")
        tensors = {client: states[client][name].detach() for client in holders}
        if len({(tuple(tensor.shape), tensor.dtype) for tensor in tensors.values()}) > 1:
            raise ValueError(f"The clients {holders} have tensors of different shapes or types under {name!r}.")
        first = tensors[holders[0]]
        if not first.is_floating_point():
            mean[name] = torch.stack([tensors[client] for client in holders]).amax(0)
            continue
        if len(holders) == 1:
            mean[name] = first.clone()
            continue
        total = torch.zeros(first.shape, dtype=torch.float64)
        for client in holders:
            total += float(weights[client]) * tensors[client].double()
        mean[name] = (total / sum(float(weights[client]) for client in holders)).to(first.dtype)
    return mean


def summed(gradients: Mapping[int, Mapping[str, Tensor]], scales: Mapping[int, float]) -> dict[str, Tensor]:
    """The sum of the gradients of several clients, each times its scale, in float64 and in ascending order of clients.

    Where the loss is the mean over the union of all batches, the gradients at the cut carry the shares of the batches
    already, and all scales are 1.
    """
    names = dict.fromkeys(name for client in sorted(gradients) for name in gradients[client])
    result: dict[str, Tensor] = {}
    for name in names:
        holders = [client for client in sorted(gradients) if name in gradients[client]]
        first = gradients[holders[0]][name]
        total = torch.zeros(first.shape, dtype=torch.float64)
        for client in holders:
            total += float(scales[client]) * gradients[client][name].detach().double()
        result[name] = total.to(first.dtype)
    return result


def shared_names(module: nn.Module, bn: str) -> set[str]:
    """The names of a module's state that are averaged or handed on.

    Args:
        module: A half or a whole model.
        bn: With `local` nothing of a batch normalization is shared, with `statistics-local` only its scale and shift;
            with `shared` and `replaced` everything is.
    """
    names = set(module.state_dict())
    if bn in ("shared", "replaced"):
        return names
    kept = {
        f"{path}.{name}" if path else name
        for path, layer in module.named_modules()
        if isinstance(layer, _BatchNorm)
        for name in layer.state_dict()
        if bn == "local" or name in STATISTICS
    }
    return names - kept
