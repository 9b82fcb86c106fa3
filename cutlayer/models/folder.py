"""The split folder, the unit of deployment: the two halves as ONNX and as weights, and `split.json`.

A device needs `split.json` and `head.onnx` only, and `defense.safetensors` where the defense has learned something.
Weights are safetensors: nothing here unpickles.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save as serialize_arrays
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import nn

from cutlayer.errors import CutlayerError, SplitError
from cutlayer.models import widths
from cutlayer.models.export import export_onnx
from cutlayer.models.graph import reason
from cutlayer.models.split import SplitModel
from cutlayer.models.split import split as split_at
from cutlayer.models.zoo import build
from cutlayer.registry import defense_from
from cutlayer.spec import LEARNED, MANIFEST, Manifest, sha256

HEAD_ONNX, HEAD_WEIGHTS = "head.onnx", "head.safetensors"
TAIL_ONNX, TAIL_WEIGHTS = "tail.onnx", "tail.safetensors"
FILES = (HEAD_ONNX, HEAD_WEIGHTS, TAIL_ONNX, TAIL_WEIGHTS)


def save(
    folder: Path,
    split: SplitModel,
    *,
    model: str,
    classes: int,
    defense: dict[str, Any],
    data: str | None,
    learned: Mapping[str, NDArray[Any]] | None = None,
) -> Manifest:
    """Write the folder, under its name only when it is complete. A split folder of that name is replaced.

    Args:
        folder: Where to.
        split: The halves, on the CPU.
        model: Name in `cutlayer.registry.MODELS` that the halves were built from.
        classes: Number of logits.
        defense: ``{"name": ..., **options}`` of what the device runs on its activations, perhaps with `then`.
        data: Name of the data set that the model was trained on.
        learned: What the defense learned and the device needs.

    Raises:
        SplitError: A half cannot be exported, or the folder exists already and holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / MANIFEST).exists() and (folder.is_file() or any(folder.iterdir())):
        raise SplitError(f"{folder} exists and is no split folder; name another one.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        export_onnx(split.head, split.input, fresh / HEAD_ONNX, "image", "smashed")
        export_onnx(split.tail, split.smashed, fresh / TAIL_ONNX, "smashed", "logits")
        _save_weights(split.head, fresh / HEAD_WEIGHTS)
        _save_weights(split.tail, fresh / TAIL_WEIGHTS)
        if learned:
            (fresh / LEARNED).write_bytes(serialize_arrays(dict(learned)))
        files = {name: sha256(fresh / name) for name in (*FILES, LEARNED) if (fresh / name).exists()}
        manifest = Manifest(model, split.cut, classes, split.input, split.smashed, defense, data, files)
        manifest.save(fresh)
        _replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return manifest


def load(folder: Path) -> tuple[Manifest, SplitModel]:
    """Build the halves again and fill in the weights.

    Raises:
        SplitError: A file is missing or damaged, or does not fit the model that the manifest names.
    """
    folder = Path(folder)
    manifest = Manifest.load(folder)
    manifest.verify(folder, HEAD_WEIGHTS, TAIL_WEIGHTS)
    try:
        model = build(manifest.model, manifest.input, manifest.classes)
        split: SplitModel = defense_from(manifest.defense).surgery(split_at(model, manifest.cut, manifest.input))
        head, tail = load_file(folder / HEAD_WEIGHTS), load_file(folder / TAIL_WEIGHTS)
        split = widths.fit(split, head, tail)
        split.head.load_state_dict(head, strict=True)
        split.tail.load_state_dict(tail, strict=True)
    except (CutlayerError, RuntimeError, SafetensorError) as error:
        raise SplitError(f"{folder} does not fit this version's {manifest.model}: {reason(error)}") from error
    if split.smashed != manifest.smashed:
        raise SplitError(
            f"{folder} sends {manifest.smashed} at {manifest.cut}, this version {split.smashed}; make it again."
        )
    return manifest, split


def _save_weights(half: nn.Module, path: Path) -> None:
    # safetensors refuses tensors that share memory, such as tied weights.
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in half.state_dict().items()}
    # Not its save_file, which makes files that only their owner can read.
    path.write_bytes(serialize(weights))


def _replace(fresh: Path, folder: Path) -> None:
    """Put the fresh folder in place of the old one, which stays whole until the last moment."""
    old = fresh.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
