"""From the model that the user names (by name, as an ONNX file or a split folder) to cuts that a device can run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from cutlayer.errors import ConfigError, SplitError, near
from cutlayer.machine.confined import Limits, confined
from cutlayer.models.cut import AnyCut, find_cut
from cutlayer.models.manifest import MANIFEST
from cutlayer.models.start import RANDOM, Start
from cutlayer.onnx.given import NOTHING, Given
from cutlayer.profile.plan import Say
from cutlayer.progress import track
from cutlayer.registry import MODELS
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split

if TYPE_CHECKING:
    from torch import nn

Train = Callable[["nn.Module"], None]

AUTO, ALL = ("auto",), ("all",)

AUTO_COUNT = 10
"""Number of cuts that are worth a measurement, at most."""


@dataclass(frozen=True)
class Candidate:
    """One cut, ready to run.

    Attributes:
        shape: Shape of the smashed data of one sample.
        nbytes: Size of the smashed data of one sample, before any codec.
        params: Parameters of the head; None where the split folder was written elsewhere and does not say.
        macs: Multiply-accumulates of the head for one sample; None in the same case, and where some are not counted.
    """

    cut: str
    folder: Path
    shape: tuple[int, ...]
    nbytes: int
    params: int | None
    macs: int | None


def prepare(
    model: str,
    cuts: Sequence[str],
    input: TensorSpec | None,
    out: Path,
    *,
    classes: int | None,
    data: str | None,
    say: Say,
    tokenizer: str = "",
    train: Train | None = None,
    start: Start = RANDOM,
    given: Given = NOTHING,
    confinement: Limits | None = None,
) -> list[Candidate]:
    """The cuts to compare, in the order of the model; their split folders are written under ``out/cuts``.

    Args:
        model: A model by name, an ONNX file, or a split folder.
        cuts: Names of cuts; `AUTO` takes those worth a measurement, `ALL` all that differ in what they cost.
        input: One image; the model's own when None.
        out: Folder of the profile.
        classes: Number of outputs of a model by name; 10, or that of a model of the user's own, when None.
        start: Weights of a model by name, and its normalization.
        data: Name of the data set that the model was trained on, for the split folders.
        say: Receives a line about each step.
        tokenizer: What makes tokens of text, for the split folders of a text model.
        train: Trains a model by name in place; it keeps its random weights when None.
        given: What the user states about an ONNX file.
        confinement: What the work on an ONNX file of the user's may take; see `cutlayer.machine.confined`.

    Raises:
        ConfigError: There is no such model, or it cannot take such images.
        SplitError: There is no such cut, or the file cannot be cut.
    """
    if (Path(model) / MANIFEST).exists():
        return [_from_folder(Path(model), cuts)]
    path = Path(model)
    if MODELS.takes(model) and (sentence := _sentence(model, input)) is not None:
        return _of_sentences(model, cuts, sentence, out, classes, data, tokenizer, start, say, train)
    if MODELS.takes(model):
        path, cuts, input = _export(model, cuts, input, out, classes, start, say, train)
        confinement = None  # the file is our own
    elif path.suffix != ".onnx":
        raise ConfigError(
            f"{model!r} is not the name of a model, a split folder or an ONNX file; {near(model, MODELS)}"
        )
    if input is not None:
        given = replace(given, shape=input.shape)
    if confinement is None:
        return from_onnx(path, cuts, given, out, data, say)
    # As JSON holds them: without the classes and the paths.
    told = confined(
        lambda: [{**asdict(c), "folder": str(c.folder)} for c in from_onnx(path, cuts, given, out, data, say)],
        confinement, path,
    )  # fmt: skip
    return [Candidate(**{**c, "folder": Path(c["folder"]), "shape": tuple(c["shape"])}) for c in told]


def own_shape(model: str, given: Given = NOTHING, confinement: Limits | None = None) -> tuple[int, ...] | None:
    """The shape of one input as the model itself states it; None if it states none.

    Raises:
        SplitError: The split folder or the ONNX file cannot be read, or the file leaves the shape open.
    """
    if (Path(model) / MANIFEST).exists():
        return open_split(Path(model)).manifest.input.shape
    if model.endswith(".onnx"):
        from cutlayer.onnx.ends import with_batches
        from cutlayer.onnx.file import read

        def shape() -> tuple[int, ...]:
            return with_batches(read(Path(model), given)).input.shape

        return tuple(confined(shape, confinement, model)) if confinement else shape()
    stated = MODELS.options(model).get("input")
    return stated.default.shape if stated and isinstance(stated.default, TensorSpec) else None


def from_onnx(path: Path, cuts: Sequence[str], given: Given, out: Path, data: str | None, say: Say) -> list[Candidate]:
    """Cuts of an ONNX file; see `prepare`."""
    from cutlayer.onnx.graph import survey, write

    graph, candidates = survey(path, given), []
    if not graph.cuts:
        raise SplitError(f"{path} cannot be cut anywhere: no single tensor of it carries all that follows.")
    named = tuple(cuts) not in (AUTO, ALL)
    for name in cuts if named else ():
        if name in graph.refused:
            raise SplitError(f"{path} cannot be cut at {name!r}: {graph.refused[name]}; see `cutlayer cuts {path}`.")
    for older in (out / "cuts").glob(f"[0-9]*-*/{MANIFEST}"):
        shutil.rmtree(older.parent)
    for place, cut in enumerate(track(pick(graph.cuts, cuts), "writing the cuts")):
        folder = _folder(out, place, cut.name)
        try:
            write(graph, cut.name, folder, data=data)
        except SplitError as error:
            if named:
                raise
            say(f"left out: {error}")
            continue
        macs = None if cut.uncounted else cut.macs
        candidates.append(Candidate(cut.name, folder, cut.shape, cut.nbytes, cut.params, macs))
    if not candidates:
        raise SplitError(f"{path} cannot be cut anywhere; `cutlayer cuts {path}` says why.")
    return candidates


def pick(offered: Sequence[AnyCut], cuts: Sequence[str]) -> list[AnyCut]:
    """The cuts that are asked for, in the order of the model."""
    if tuple(cuts) in (AUTO, ALL):
        return choose_cuts(offered, None if tuple(cuts) == ALL else AUTO_COUNT)
    named = [find_cut(offered, name) for name in cuts]
    return [cut for cut in offered if cut in named]


def choose_cuts(cuts: Sequence[AnyCut], count: int | None) -> list[AnyCut]:
    """The cuts worth a measurement, in the order of the model.

    The first are those that send less than any cut before them, for each of these may win on a slow enough network;
    then come, up to `count`, those that leave the widest gaps in computation: they send more, but hide more of the
    input.

    Args:
        cuts: All cuts, in the order of the model.
        count: Number of cuts at most; all cuts that differ in what they cost when None.
    """
    # Of cuts that cost the same, the last: behind the activation, values are bounded and compress better.
    last = {(cut.nbytes, cut.macs): cut for cut in cuts}
    distinct = sorted(last.values(), key=lambda cut: (cut.macs, -cut.nbytes))
    if count is None or count >= len(distinct):
        return distinct
    chosen: list[AnyCut] = []
    for cut in distinct:
        # Each is smaller than the one before it.
        if not chosen or cut.nbytes < chosen[-1].nbytes:
            chosen.append(cut)
    # When there are too many, those stay whose fall in size is the steepest.
    while len(chosen) > count:
        falls = [chosen[i].nbytes / chosen[i + 1].nbytes for i in range(len(chosen) - 1)]
        del chosen[falls.index(min(falls))]
    rest = [cut for cut in distinct if cut not in chosen]
    while rest and len(chosen) < count:
        widest = max(rest, key=lambda cut: min(abs(cut.macs - other.macs) for other in chosen))
        rest.remove(widest)
        chosen.append(widest)
    return sorted(chosen, key=lambda cut: (cut.macs, -cut.nbytes))


def _zoo(model: str) -> ModuleType:
    try:
        from cutlayer.models import zoo
    except ImportError:
        raise ConfigError(
            f"A model by name, such as {model}, is built with torch, which is not installed; install cutlayer[lab], "
            "or profile an ONNX file."
        ) from None
    return zoo


def _sentence(model: str, input: TensorSpec | None) -> TensorSpec | None:
    """What a text model by name takes; None for another model."""
    if input is None and "input" not in MODELS.options(model):
        return None
    spec = input or _zoo(model).default_input(model)
    return spec if spec.is_tokens else None


def _of_sentences(
    model: str,
    cuts: Sequence[str],
    spec: TensorSpec,
    out: Path,
    classes: int | None,
    data: str | None,
    tokenizer: str,
    start: Start,
    say: Say,
    train: Train | None,
) -> list[Candidate]:
    """The cuts of a text model by name, of which each half is exported by itself, so that sentences keep their lengths.

    A file of the whole model has one length: which axes behind a cut are those of the sequence, it does not say.
    """
    zoo = _zoo(model)
    from cutlayer.models import folder as folders
    from cutlayer.models.cuts import cut_nodes
    from cutlayer.models.halves import split_at

    module = zoo.build(model, spec, classes or 10, start=start)
    if train is not None:
        train(module)
    nodes = dict(cut_nodes(module, spec))
    chosen = pick([cut for cut in nodes if cut.shape[:1] == spec.shape and len(cut.shape) == 2], cuts)
    if not chosen:
        raise SplitError(f"{model} cannot be profiled: none of its cuts sends a row for each token.")
    say(f"exporting the halves of {MODELS.label(model)} for sentences of at most {spec} tokens, at {len(chosen)} cuts")
    candidates = []
    for older in (out / "cuts").glob(f"[0-9]*-*/{MANIFEST}"):
        shutil.rmtree(older.parent)
    for place, cut in enumerate(track(chosen, "writing the cuts")):
        folder = _folder(out, place, cut.name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folders.save(
            folder, split_at(module, cut, nodes[cut], spec), model=model, classes=classes or 10,
            defense={"name": "none"}, data=data, tokenizer=tokenizer, weights=False,
        )  # fmt: skip
        macs = None if cut.uncounted else cut.macs
        candidates.append(Candidate(cut.name, folder, cut.shape, cut.nbytes, cut.params, macs))
    return candidates


def _folder(out: Path, place: int, cut: str) -> Path:
    return out / "cuts" / f"{place:02}-{re.sub(r'[^A-Za-z0-9._-]+', '_', cut)[:80]}"


def _export(
    model: str,
    cuts: Sequence[str],
    input: TensorSpec | None,
    out: Path,
    classes: int | None,
    start: Start,
    say: Say,
    train: Train | None,
) -> tuple[Path, list[str], TensorSpec]:
    """The ONNX file of a model by name, the names of the cuts to compare, and the input."""
    zoo = _zoo(model)
    from cutlayer.models.cuts import cut_nodes
    from cutlayer.models.export import export_named

    spec = input or zoo.default_input(model)
    if classes is None and not MODELS.is_own(model):
        classes = 10
    module = zoo.build(model, spec, classes, start=start)
    if train is not None:
        train(module)
    nodes = list(cut_nodes(module, spec))
    chosen = [cut.name for cut in pick([cut for cut, _ in nodes], cuts)]
    name = MODELS.label(model)
    say(f"exporting {name} for inputs of {spec}, to be cut at {len(chosen)} places")
    path = out / f"{name.replace('/', '-')}.onnx"
    export_named(module, {cut.name: node for cut, node in nodes if cut.name in chosen}, spec, path)
    return path, chosen, spec


def _from_folder(folder: Path, cuts: Sequence[str]) -> Candidate:
    manifest = open_split(folder).manifest
    if tuple(cuts) not in (AUTO, ALL, (manifest.cut,)):
        raise SplitError(f"{folder} is cut at {manifest.cut} already; name a model or an ONNX file to choose others.")
    smashed = manifest.smashed
    return Candidate(manifest.cut, folder, smashed.shape, smashed.nbytes, None, None)
