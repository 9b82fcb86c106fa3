"""Weights from a file: safetensors, or what `torch.save` wrote, as the common training programs name their keys."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cutlayer.errors import ConfigError
from cutlayer.models.graph import reason

_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params", "ema")
"""Keys under which training programs put the state dict, beside the optimizer's and others."""

_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
"""What wrappers such as DataParallel and torch.compile put before the name of every weight."""

_LAST = ("fc", "linear", "classifier", "head", "output", "logits")
"""Names of the layer that gives the logits; files and models that are the same otherwise differ in it."""

_PARTS = (("checkpoint_client", "checkpoint_f"), ("checkpoint_cloud",), ("checkpoint_classifier",))
"""How ResSFL (https://github.com/zlijingtao/ResSFL) names the files of the client, the server and its classifier."""


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model with the weights of a file.

    Args:
        model: The model, whose weights are replaced.
        path: A file, or the folder in which ResSFL has stored the halves of a model.

    Raises:
        ConfigError: The file cannot be read, or does not fit; the message names keys and shapes.
    """
    expected = model.state_dict()
    given = _in_order(path, expected) if path.is_dir() else _renamed(read(path), expected)
    # Older versions of torch have not counted the batches, and nothing depends on the count.
    given |= {key: value for key, value in expected.items() if key not in given and key.endswith("num_batches_tracked")}
    faults = []
    if missing := [key for key in expected if key not in given]:
        faults.append(f"it lacks {_some(missing)}")
    if unexpected := [key for key in given if key not in expected]:
        faults.append(f"the model has no {_some(unexpected)}")
    differing = [key for key in expected if key in given and given[key].shape != expected[key].shape]
    if differing:
        shapes = (
            f"{key} ({_shape(given[key])} in the file, {_shape(expected[key])} in the model)" for key in differing
        )
        faults.append(f"other shapes: {_some(shapes)}")
    if faults:
        raise ConfigError(
            f"{path} does not fit {type(model).__name__}: {'; '.join(faults)}. Name the model, and its --classes and "
            "--input, for which the file was written."
        )
    model.load_state_dict(given)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without the wrappers and prefixes of training programs.

    Raises:
        ConfigError: There is no such file, or it holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"There is no file {path} with weights.")
    try:
        if path.suffix == ".safetensors":
            stored: Any = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path} holds more than weights, and loading that would run its code. Write the weights alone, with "
            "safetensors.torch.save_file(model.state_dict(), FILE) where the model was trained."
        ) from error
    except Exception as error:  # torch raises whatever its unpickler meets in damaged bytes
        raise ConfigError(f"{path} cannot be read as weights: {reason(error)}") from error
    found = _state(stored)
    if not found:
        kind = f"a dictionary of {_some(map(str, stored))}" if isinstance(stored, Mapping) else type(stored).__name__
        raise ConfigError(f"{path} holds {kind}, and no state dict; a key such as 'state_dict' is looked for.")
    return found


def _state(stored: Any) -> dict[str, Tensor]:
    """The state dict in what a program has stored; empty where there is none."""
    if not isinstance(stored, Mapping):
        return {}
    tensors = {str(key): value for key, value in stored.items() if isinstance(value, Tensor)}
    inner = next((found for key in _WRAPPERS if (found := _state(stored.get(key)))), {})
    if inner and len(inner) > len(tensors):
        return inner
    for prefix in _PREFIXES * 2:
        if tensors and all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _in_order(folder: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the halves that ResSFL stored, under the names of the model, which numbers its layers through."""
    tensors: list[Tensor] = []
    for starts in _PARTS:
        found = [path for start in starts for path in sorted(folder.glob(f"{start}_*.tar"), key=_newest)]
        if not found and starts is not _PARTS[-1]:
            raise ConfigError(f"{folder} has no file {' or '.join(f'{start}_*.tar' for start in starts)}.")
        tensors += [value for path in found[:1] for value in read(path).values()]
    if [tensor.shape for tensor in tensors] != [tensor.shape for tensor in expected.values()]:
        raise ConfigError(
            f"The halves in {folder} have other layers than the model: {len(tensors)} tensors where it has "
            f"{len(expected)}. A bottleneck, such as noRELU_C8S1, is not part of the model by name; write a function "
            "that builds the model with it, and name that."
        )
    return dict(zip(expected, tensors, strict=True))


def _newest(path: Path) -> tuple[bool, str]:
    """Sort key by which the best checkpoint comes first."""
    return not path.stem.endswith("_best"), path.name


def _renamed(given: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of the model, where only the names of wrappers or of the last layer differ."""
    missing, unexpected = expected.keys() - given.keys(), given.keys() - expected.keys()
    for prefix in _PREFIXES:
        if missing and all(f"{prefix}{key}" in expected for key in given):
            return {f"{prefix}{key}": value for key, value in given.items()}
    lacking = {key.rpartition(".")[0] for key in missing if not key.endswith("num_batches_tracked")}
    left = {key.rpartition(".")[0] for key in unexpected}
    if len(lacking) == len(left) == 1:
        (ours,), (theirs,) = lacking, left
        if ours in _LAST and theirs in _LAST:
            return {key.replace(f"{theirs}.", f"{ours}.") if key in unexpected else key: v for key, v in given.items()}
    return given


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3:,} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
