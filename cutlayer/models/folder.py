"""The split folder, the unit of deployment: the two halves as ONNX and as weights, and `split.json`.

A device needs `split.json` and `head.onnx` only, and `defense.safetensors` where the defense has learned something.
A folder that was cut from an ONNX file, or whose head computes in int8, has no halves in torch.
Weights are safetensors: nothing here unpickles.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save as serialize_arrays
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import nn

from cutlayer.errors import CutlayerError, SplitError
from cutlayer.models import widths
from cutlayer.models.export import export_onnx
from cutlayer.models.files import new_folder
from cutlayer.models.graph import reason
from cutlayer.models.halves import SplitModel
from cutlayer.models.halves import split as split_at
from cutlayer.models.manifest import (
    HEAD_ONNX,
    HEAD_WEIGHTS,
    LEARNED,
    TAIL_ONNX,
    TAIL_WEIGHTS,
    TOKENIZER,
    TOKENS,
    Manifest,
    sha256,
)
from cutlayer.models.start import Start
from cutlayer.models.zoo import build, normalization_of
from cutlayer.registry import DEFENSES, MODELS, defense_from, defense_names

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
    exported: Path | None = None,
    weights: bool = True,
    tokenizer: str = "",
) -> Manifest:
    """Write the folder, under its name only when it is complete. A split folder of that name is replaced.

    Args:
        folder: Path of the folder.
        split: The halves, on the CPU.
        model: Name in `cutlayer.registry.MODELS` that the halves were built from.
        classes: Number of logits.
        defense: ``{"name": ..., **options}`` of what the device runs on its activations, perhaps with `then`.
        data: Name of the data set that the model was trained on.
        learned: What the defense learned and the device needs.
        exported: A split folder of the same halves, whose files are copied: an export takes seconds.
        tokenizer: What makes tokens of text, which the device takes along; see `cutlayer.data.splits.Splits`.
        weights: Whether to write the weights in torch too, which only a model that the name builds again can use.

    Raises:
        SplitError: A half cannot be exported, or the folder exists already and holds something else.
    """
    with new_folder(Path(folder)) as part:
        if exported:
            for name in FILES:
                if (exported / name).exists():
                    shutil.copyfile(exported / name, part / name)
        else:
            input = TOKENS if split.sequence else "image"
            export_onnx(split.head, split.input, part / HEAD_ONNX, input, "smashed", split.sequence)
            export_onnx(split.tail, split.smashed, part / TAIL_ONNX, "smashed", "logits", split.sequence)
        if weights and not exported:
            _save_weights(split.head, part / HEAD_WEIGHTS)
            _save_weights(split.tail, part / TAIL_WEIGHTS)
        if learned:
            (part / LEARNED).write_bytes(serialize_arrays(dict(learned)))
        if tokenizer:
            (part / TOKENIZER).write_text(tokenizer, encoding="utf-8")
        files = {name: sha256(part / name) for name in (*FILES, LEARNED, TOKENIZER) if (part / name).exists()}
        sources = {name: MODELS.digest(name) for name in (model,) if MODELS.is_own(name)}
        sources |= {name: DEFENSES.digest(name) for name in defense_names(defense) if DEFENSES.is_own(name)}
        normalized = normalization_of(model, split.head)
        manifest = Manifest(
            model, split.cut, classes, split.input, split.smashed, defense, data, files, sources,
            mean=normalized.mean, std=normalized.std, sequence=split.sequence,
        )  # fmt: skip
        manifest.save(part)
    return manifest


def rebuild(folder: Path, manifest: Manifest) -> SplitModel:
    """Build the halves that a manifest describes and fill in their weights, whose files have been verified.

    Raises:
        SplitError: The weights do not fit the model that the manifest names.
    """
    manifest.verify_source(MODELS, manifest.model)
    try:
        normalized = Start(mean=manifest.mean, std=manifest.std)
        model = build(manifest.model, manifest.input, manifest.classes, start=normalized)
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
    return split


def computed_by(half: nn.Module, threads: int | None) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A half as a function of arrays; `threads`, where given, is a setting of the whole process."""
    if threads:
        torch.set_num_threads(threads)

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            # A copy, for a half may work in place and the bytes that arrived at a server belong to its tap.
            return half(torch.tensor(batch)).numpy()  # type: ignore[no-any-return]

    return run


def _save_weights(half: nn.Module, path: Path) -> None:
    # safetensors refuses tensors that share memory, such as tied weights.
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in half.state_dict().items()}
    # Not its save_file, which makes files that only their owner can read.
    path.write_bytes(serialize(weights))
