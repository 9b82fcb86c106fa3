"""Small networks on replies: they learn in torch, and compute in numpy, where the server answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from cutlayer.data.splits import Dataset

_BATCH = 256


def log_probabilities(model: nn.Module, data: Dataset) -> Tensor:
    """The replies of an undefended server for the samples, ``(N, classes)`` float32, on the CPU."""
    import torch

    from cutlayer.machine.compute import pick_device, placed

    device, parts = pick_device(), []
    model.eval()
    with placed(device, model), torch.inference_mode():
        for first in range(0, len(data), _BATCH):
            batch = torch.from_numpy(data.inputs[first : first + _BATCH]).to(device)
            parts.append(model(batch).float().log_softmax(1).cpu())
    return torch.cat(parts).clone()


def layers(name: str, network: nn.Sequential) -> dict[str, NDArray[Any]]:
    """The weights of a network of two linear layers with ReLU between them, as arrays for `computed`."""
    # Transposed, for a batch comes first.
    return {f"{name}.{key}": value.detach().numpy().T.copy() for key, value in network.named_parameters()}


def computed(learned: Mapping[str, NDArray[Any]], name: str, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a network of two layers gives for inputs ``(N, D)``."""
    hidden = np.maximum(inputs @ learned[f"{name}.0.weight"] + learned[f"{name}.0.bias"], 0)
    outputs: NDArray[np.float32] = hidden @ learned[f"{name}.2.weight"] + learned[f"{name}.2.bias"]
    return outputs


def slope(
    learned: Mapping[str, NDArray[Any]], name: str, inputs: NDArray[np.float32], outer: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The gradient ``(N, D)`` with respect to the inputs of ``sum(outer * computed(...))``, `outer` as the outputs."""
    first = learned[f"{name}.0.weight"]
    active = inputs @ first + learned[f"{name}.0.bias"] > 0
    gradient: NDArray[np.float32] = ((outer @ learned[f"{name}.2.weight"].T) * active) @ first.T
    return gradient
