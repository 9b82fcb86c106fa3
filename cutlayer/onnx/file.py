"""Reading an ONNX file: its inputs and outputs, or one sentence on why it cannot be cut.

This needs the packages onnx and onnxruntime, not torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import SplitError
from cutlayer.onnx import sizes
from cutlayer.onnx.branches import without_fixed_branches
from cutlayer.onnx.claims import check_claims
from cutlayer.onnx.errors import message, newest
from cutlayer.onnx.given import NOTHING, Given
from cutlayer.onnx.protos import editable, open_proto, run, the_package
from cutlayer.onnx.random_inputs import Bounds, arrays, ranges
from cutlayer.onnx.seams import Index, put_in_order, varying_tensors
from cutlayer.onnx.session import dtype_of
from cutlayer.onnx.types import BOUNDS, FLOATS, float32_ends
from cutlayer.spec import TensorSpec
from cutlayer.tensors import random

if TYPE_CHECKING:
    from onnx import ModelProto

MOST_BYTES = 2**31 - 1
"""Greatest size of one ONNX file; the format allows no larger ones."""


@dataclass(frozen=True)
class OnnxFile:
    """A model that ONNX Runtime takes, with inputs and outputs of known types.

    As `read` gives it, the shapes are whole ones, as the file has them; `cutlayer.onnx.ends` puts a batch first.

    Attributes:
        path: Path of the file.
        proto: The model, external data included, its nodes in an order in which they can run. It is never changed.
        inputs: Data and state that it takes, by name.
        outputs: What it gives, by name. A length is -1 where it depends on the data.
        state: Inputs that take what an output of the request before gave: input name to output name.
        public: Inputs that both halves may take.
        guessed: Whether a size was tried that neither file nor user state.
    """

    path: Path
    proto: ModelProto
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    state: Mapping[str, str] = field(default_factory=dict)
    public: Sequence[str] = ()
    guessed: bool = False

    @cached_property
    def index(self) -> Index:
        """The graph, ready to be taken apart."""
        return Index(self.proto.graph)

    @cached_property
    def can_be_inferred(self) -> bool:
        """Whether shape inference has nothing to say against the file, which ONNX Runtime opens all the same."""
        try:
            the_package().shape_inference.infer_shapes(self.proto, strict_mode=True)
        except Exception:  # the errors of inference have no common base but this
            return False
        return True

    @cached_property
    def image(self) -> str:
        """Name of the input that the head hides: of those that are neither state nor public, the largest."""
        data = [name for name in self.inputs if name not in self.state and name not in self.public]
        likely = [name for name in data if name not in self.likely_state] or data
        return max(likely, key=lambda name: self.inputs[name].size)

    @cached_property
    def likely_state(self) -> dict[str, str]:
        """Inputs that no option names, each with the only output of its shape whose name begins like its own."""
        free = {name: spec for name, spec in self.inputs.items() if name not in self.state and name not in self.public}
        alike: dict[tuple[str, tuple[int, ...]], list[str]] = {}
        for name, spec in self.outputs.items():
            alike.setdefault((name[:1], spec.shape), []).append(name)
        likely = {name: alike.get((name[:1], spec.shape), []) for name, spec in free.items()}
        return {name: outputs[0] for name, outputs in likely.items() if len(outputs) == 1 and len(free) > 1}

    @property
    def input(self) -> TensorSpec:
        """One sample of the input that the head hides."""
        return self.inputs[self.image]


def read(path: Path, given: Given = NOTHING) -> OnnxFile:
    """Read a model and run it in ONNX Runtime, to know what goes in and what comes out.

    Args:
        path: Path of the file.
        given: What the user states about it.

    Raises:
        ConfigError: The package onnx or ONNX Runtime is not installed.
        SplitError: The file is missing, damaged, of an unknown opset, or runs with none of the shapes that were stated
            or tried; an input or output has a type that cannot be sent; or a name that was given does not exist.
    """
    path = Path(path)
    proto = _load(path)
    inputs, outputs = _ends(path, proto)
    _check(path, given, inputs, outputs)
    put_in_order(proto.graph)
    proto = _with_constants(proto, inputs, given.constants)
    inputs = {name: input for name, input in inputs.items() if name not in given.constants}
    proto = float32_ends(proto, {name: input.dtype for name, input in inputs.items()}, outputs)
    shapes, ranges_, guessed = _shapes(path, proto, inputs, outputs, given)
    takes = {
        name: TensorSpec(shapes[name], "float32" if input.dtype in FLOATS else input.dtype, *ranges_[name])
        for name, input in inputs.items()
    }
    proto = without_fixed_branches(proto, arrays(takes, 0))
    session = open_proto(proto)
    # Two runs, for shapes that depend on what is in the input.
    one, two = (run(session, arrays(takes, seed), list(outputs)) for seed in (0, 1))
    varying = varying_tensors(proto.graph)
    declared = {
        value.name: value.shape if value.name in varying else first.shape
        for value, first in zip(session.get_outputs(), one, strict=True)
    }
    gives = {
        name: TensorSpec(_shape(first, second, declared[name]), first.dtype.name)
        for name, first, second in zip(outputs, one, two, strict=True)
    }
    return OnnxFile(path, proto, takes, gives, dict(given.state), tuple(given.public), guessed)


def _load(path: Path) -> ModelProto:
    onnx = the_package()
    if not path.is_file():
        raise SplitError(f"There is no file {path}; name an ONNX file, or a model from `cutlayer list models`.")
    try:
        proto = onnx.load(path, load_external_data=False)
        check_claims(path, proto)
        onnx.load_external_data_for_model(proto, str(path.parent))
        n_bytes = proto.ByteSize()
        # A copy checks all strings now; broken ones would be noticed much later.
        onnx.GraphProto(name=proto.graph.name, node=proto.graph.node)
        onnx.ModelProto(producer_name=proto.producer_name, producer_version=proto.producer_version)
    except SplitError:
        raise
    except Exception as error:  # the errors of protobuf, onnx and the files of external data have no common base
        raise SplitError(
            f"{path} cannot be read as an ONNX model: {message(error)}; is it damaged or cut short?"
        ) from None
    if not proto.graph.node:
        raise SplitError(f"{path} cannot be read as an ONNX model: it has no graph; is it damaged or cut short?")
    if n_bytes > MOST_BYTES:
        raise SplitError(f"{path} is larger than the 2 GiB of one ONNX file; cut it with other tools.")
    return proto


def _ends(path: Path, proto: ModelProto) -> tuple[dict[str, sizes.Input], dict[str, str]]:
    """The inputs, and the types of the outputs, as ONNX Runtime sees them."""
    try:
        session = open_proto(proto)
    except Exception as error:  # the errors of ONNX Runtime have no common base but this
        if limit := newest(error):
            raise SplitError(
                f"{path} is of {_opsets(proto)}, and the installed ONNX Runtime supports up to {limit}; export it "
                "again for that, or install a newer onnxruntime."
            ) from None
        raise SplitError(
            f"ONNX Runtime cannot open {path} ({_opsets(proto)}): {message(error)}; export it again with an opset and "
            "operators that it supports."
        ) from None
    ranked = {value.name for value in proto.graph.input if value.type.tensor_type.HasField("shape")}
    inputs = {
        value.name: sizes.Input(value.name, dtype_of(value.type), tuple(value.shape) if value.name in ranked else None)
        for value in session.get_inputs()
    }
    return inputs, {value.name: dtype_of(value.type) for value in session.get_outputs()}


def _check(path: Path, given: Given, inputs: Mapping[str, sizes.Input], outputs: Mapping[str, str]) -> None:
    """Refuse names that the file does not have, and types that cannot be sent."""
    stated = {"--input": given.shapes, "--state": given.state, "--constant": given.constants, "--public": given.public}
    for option, names in stated.items():
        for name in names:
            if name not in inputs:
                raise SplitError(f"{path} has no input {name!r}, as {option} says; it takes {', '.join(inputs)}.")
    for name in given.state.values():
        if name not in outputs:
            raise SplitError(f"{path} has no output {name!r}, as --state says; it gives {', '.join(outputs)}.")
    types = {name: input.dtype for name, input in inputs.items()}
    for verb, ends in (("takes", types), ("gives", outputs)):
        for name, dtype in ends.items():
            if dtype not in FLOATS and dtype not in BOUNDS:
                raise SplitError(f"{path} {verb} {name} as {dtype}, which holds no numbers that can be sent.")
    if passed := inputs.keys() & outputs.keys():
        raise SplitError(f"{path} gives {min(passed)}, which is an input; export it without that output.")
    if not [name for name in inputs if name not in (*given.state, *given.constants, *given.public)]:
        raise SplitError(
            f"{path} has no input left that a head could hide; leave one out of --state, --constant and --public."
        )


def _with_constants(proto: ModelProto, inputs: Mapping[str, sizes.Input], constants: Mapping[str, float]) -> ModelProto:
    """The model in which inputs have become initializers."""
    if not constants:
        return proto
    onnx = the_package()
    proto = editable(proto)
    left = [value for value in proto.graph.input if value.name not in constants]
    for value in proto.graph.input:
        if value.name in constants:
            shape = [axis if isinstance(axis, int) else 1 for axis in inputs[value.name].axes or ()]
            element = value.type.tensor_type.elem_type
            array = np.full(shape, constants[value.name], onnx.helper.tensor_dtype_to_np_dtype(element))
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    del proto.graph.input[:]
    proto.graph.input.extend(left)
    return proto


def _shapes(
    path: Path, proto: ModelProto, inputs: Mapping[str, sizes.Input], outputs: Mapping[str, str], given: Given
) -> tuple[dict[str, tuple[int, ...]], dict[str, Bounds], bool]:
    """The first whole shapes and ranges of the inputs with which the model runs, and whether they were guessed."""
    known = {name: sizes.stated(path, inputs[name], shape) for name, shape in given.shapes.items()}
    data = [name for name in inputs if name not in (*given.state, *given.public, *given.shapes)]
    if given.shape is not None and data:
        # The one that it fits; if it fits none, the first, for the error.
        image = next((name for name in data if sizes.fits(inputs[name], given.shape)), data[0])
        known[image] = sizes.stated(path, inputs[image], given.shape)
    for name, input in inputs.items():
        if input.axes is None and name not in known:
            raise SplitError(f"{path} does not say how many axes {name} has; state them, as in --input 3x224x224.")
    first_error: tuple[str, str] | None = None
    session = open_proto(proto)
    fixed, candidates = sizes.candidates(proto, list(inputs.values()), known, given.state)
    for shapes in candidates:
        first_that_runs = None
        for bounds in ranges(proto, {name: input.dtype for name, input in inputs.items()}):
            specs = {
                name: TensorSpec(shapes[name], "float32" if input.dtype in FLOATS else input.dtype, *bounds[name])
                for name, input in inputs.items()
            }
            try:
                gives = [array for seed in (0, 1) for array in run(session, arrays(specs, seed), list(outputs))]
            except Exception as error:  # the errors of ONNX Runtime have no common base but this
                shown = ", ".join("x".join(map(str, shape)) or "one number" for shape in shapes.values())
                first_error = first_error or (shown, message(error))
                continue
            if all(mostly_numbers(array) for array in gives):
                return shapes, bounds, not fixed
            first_that_runs = first_that_runs or bounds
        if first_that_runs is not None:
            return shapes, first_that_runs, not fixed
    assert first_error is not None, "there is at least one candidate"
    shown, reason = first_error
    takes = ", ".join(f"{name} {input}" for name, input in inputs.items())
    advice = "if it takes another shape, state it with --input" if fixed else (
        f"it takes {takes} and ran with no common size; state one, as in --input 3x224x224 or --input "
        f"{min(inputs)}=1x576"
    )  # fmt: skip
    raise SplitError(f"ONNX Runtime cannot run {path} on {shown}: {reason}; {advice}.")


def _shape(first: NDArray[Any], second: NDArray[Any], declared: Sequence[sizes.Axis]) -> tuple[int, ...]:
    """The shape of an output, from two runs and from the file; -1 is a length that may depend on the data."""
    fixed = [isinstance(axis, int) for axis in declared] if len(declared) == first.ndim else [False] * first.ndim
    return tuple(
        a if a and a == b and known else -1 for a, b, known in zip(first.shape, second.shape, fixed, strict=True)
    )


def mostly_numbers(array: NDArray[Any]) -> bool:
    """Whether at least half of a tensor are numbers; a model that masks gives infinity in some places."""
    return array.dtype.kind != "f" or not array.size or float(np.isfinite(array).mean()) >= 1 / 2


def _opsets(proto: ModelProto) -> str:
    opsets = ", ".join(f"{entry.domain or 'opset'} {entry.version}" for entry in proto.opset_import)
    return f"IR version {proto.ir_version}, {opsets or 'no opset'}"


def samples(file: OnnxFile, count: int) -> dict[str, NDArray[Any]]:
    """Random samples of every input of a file with its batch first, the same at each call: ``(count, *spec.shape)``."""
    rng = np.random.default_rng(0)
    return {name: random(spec, count, rng) for name, spec in file.inputs.items()}
