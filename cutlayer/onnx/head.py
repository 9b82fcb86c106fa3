"""A head that another program has exported, as a split folder without a tail.

Where only the device's half is at hand, its file is all that an audit has: what it gives is what would be sent.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cutlayer.errors import SplitError
from cutlayer.models.files import new_folder
from cutlayer.models.manifest import HEAD_ONNX, Manifest, sha256
from cutlayer.onnx import seams
from cutlayer.onnx.batch import any_batch
from cutlayer.onnx.ends import with_batches
from cutlayer.onnx.file import read
from cutlayer.onnx.given import NOTHING, Given
from cutlayer.onnx.halves import Place, is_plain, part
from cutlayer.onnx.protos import the_package
from cutlayer.spec import TensorSpec


def write_head(path: Path, out: Path, given: Given = NOTHING) -> Manifest:
    """Write a split folder whose head is the whole of an ONNX file, and that has neither tail nor defense.

    Args:
        path: The file, which takes one image and gives one tensor.
        out: The folder.
        given: What the user states about the file.

    Returns:
        The manifest, whose model is the name of the file and whose cut is the name of its output.

    Raises:
        ConfigError: The package onnx or ONNX Runtime is not installed.
        SplitError: The file is no ONNX model, or no head.
    """
    file = with_batches(read(path, given), given)
    if len(file.inputs) > 1 or len(file.outputs) > 1:
        raise SplitError(
            f"{path} is no head: a head takes one input and gives one tensor, and this file takes "
            f"{', '.join(file.inputs)} and gives {', '.join(file.outputs)}; export the device's half by itself, or cut "
            "the model with `cutlayer split`."
        )
    ((name, gives),) = file.outputs.items()
    if not is_plain(file):
        raise SplitError(
            f"{path} is no head: it takes {file.input.dtype} {file.input} and gives {gives.dtype} {gives}, and a head "
            "takes and gives numbers in float32 of a fixed shape; export the device's half so."
        )
    path_of_data = seams.seams(file.proto, file.image, list(file.inputs), list(file.outputs), public=(), state={}).nodes
    if not path_of_data:
        raise SplitError(f"{path} is no head: what it gives does not depend on {file.image}, so that it sends nothing.")
    opened = any_batch(file, path_of_data)
    place = Place(name, gives.dtype, (1, *gives.shape), True, opened is not None, ())
    head = part(opened[0] if opened else file, None, place).model
    with new_folder(out) as folder:
        (folder / HEAD_ONNX).write_bytes(the_package().shape_inference.infer_shapes(head).SerializeToString())
        smashed = TensorSpec(place.smashed, np.dtype(np.float32).name)
        files = {HEAD_ONNX: sha256(folder / HEAD_ONNX)}
        manifest = Manifest(Path(path).name, name, 1, file.input, smashed, {"name": "none"}, None, files)
        manifest.save(folder)
    return manifest
