"""What a program needs from cutlayer: the names that ``import cutlayer`` gives.

For example::

    import cutlayer

    data = cutlayer.load_data(images, labels)
    split = cutlayer.split(model, "3", data, "artifacts/mine")
    print(cutlayer.attack("ridge", split, data))

Each function imports what it needs when it is called, so that ``import cutlayer`` is quick, and `open_split`, `serve`
and `connect` work on a device without torch.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError, SplitError
from cutlayer.progress import told
from cutlayer.terminal import say

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.attacks.base import Attack
    from cutlayer.attacks.view import Access, View
    from cutlayer.data.splits import Splits
    from cutlayer.edge.client import Edge
    from cutlayer.models.cut import Cut
    from cutlayer.models.halves import SplitModel
    from cutlayer.privacy.score import Score
    from cutlayer.privacy.view import Wire
    from cutlayer.protocols.events import Event
    from cutlayer.records.run import Estimate, IdentificationRecord, ProbeRecord, Result
    from cutlayer.records.training import TrainingRecord
    from cutlayer.spec import TensorSpec
    from cutlayer.split_folder import SplitFolder
    from cutlayer.wire.security import Security

AccessName = Literal["query-free", "black-box", "white-box"]
"""What an attacker knows of the head; see `cutlayer.attacks.view.Access`."""


@dataclass(frozen=True)
class Attacked:
    """The outcome of `attack`; as text, the leakage gain and the share identified, with their intervals.

    Attributes:
        attack: Name of the attack and its options.
        originals: The private images, ``(N, C, H, W)`` float32 in [0, 1].
        reconstructions: What the attacker made of them, of the same shape; None from a watch list, which makes none.
        score: Every metric, and the leakage gain, each with n and a 95 % interval; None where nothing was made.
        identified: How often the attack picks the image that was sent from all candidates: by a watch list, or in the
            pixels of its reconstruction. The attack ``watch-list`` needs no reconstruction, and bounds what one hides.
    """

    attack: str
    originals: NDArray[np.float32]
    reconstructions: NDArray[np.float32] | None
    score: Score | None
    identified: IdentificationRecord

    def __str__(self) -> str:
        found = self.identified
        said = [f"identified {_with_interval(found.top_1)} among {found.candidates:,}"]
        if self.score:
            said.insert(0, f"leakage gain {_with_interval(self.score.leakage_gain)}")
        return f"{self.attack}: {', '.join(said)}"


def _with_interval(share: Estimate) -> str:
    return f"{share.value:.1%} (95 % interval {share.low:.1%} to {share.high:.1%}, n = {share.n})"


def load_data(
    source: str | Path | NDArray[Any], labels: NDArray[Any] | None = None, *, shape: Sequence[int] | None = None,
    seed: int = 0, root: Path | str | None = None, model: str | None = None,
) -> Splits:  # fmt: skip
    """Read a data set, or take arrays, and deal them out to four parts: train, auxiliary, private and test.

    What a reader of the results should know, such as files that cannot be read, is printed, and kept in `Splits.notes`.

    Args:
        source: A name from ``cutlayer list datasets``; the path of a folder of images, or of an .npz or .npy file; or
            images, ``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)``, uint8, uint16, or floating point in [0, 1].
        labels: ``(N,)``, the classes of the images, 0 and up, or strings; only with images.
        shape: ``(C, H, W)`` to which images of a path, or in an array, are resized and cropped; the greatest number of
            tokens of a sentence, ``(T,)``.
        seed: Decides which sample goes to which part.
        root: Folder of the original files; the environment variable CUTLAYER_DATA or ``data`` if left out.
        model: A language model in a folder, ``hf/FOLDER``, whose tokenizer makes tokens of text.

    Raises:
        ConfigError: The name is unknown.
        DataError: A file is missing or damaged, or the arrays are no images with labels.
    """
    wanted = None if shape is None else tuple(shape)
    if isinstance(source, np.ndarray):
        from cutlayer.data.arrays import from_arrays

        data = from_arrays(source, labels, seed, wanted)
    else:
        from cutlayer.data.load import load
        from cutlayer.models.text_folder import open_folder
        from cutlayer.own import in_folder

        place = in_folder(model or "")
        if model and not place:
            raise ConfigError(f"model is {model!r:.80}; a language model in a folder, such as hf/FOLDER, has tokens.")
        spoken = open_folder(place) if place else None
        data = load(
            str(source), root, seed, shape=wanted, otherwise=spoken.input.shape if spoken else None,
            tokenizer=spoken.tokenizer if spoken else None,
        )  # fmt: skip
    for note in data.notes:
        say(f"note: {note}")
    return data


def cuts(model: nn.Module | str, input: Splits | Sequence[int]) -> list[Cut]:
    """Every place where a model can be cut: its name, the shape that is sent, parameters and MACs of the head.

    Args:
        model: A module that torch.fx or torch.export can trace, in eval mode afterwards; or a name from ``cutlayer list
            models``, or one such as ``mine.py:Net``.
        input: The data, or the shape of one image, ``(C, H, W)``.

    Raises:
        SplitError: The model cannot be traced, or cannot take such images.
    """
    from cutlayer.models.cuts import cuts as find_cuts
    from cutlayer.spec import image_spec

    spec, classes = (image_spec(*input), 0) if isinstance(input, Sequence) else (input.input, len(input.classes))
    return find_cuts(_built(model, spec, classes)[1], spec)


def split(
    model: nn.Module | str,
    cut: str,
    data: Splits,
    out: Path | str,
    *,
    weights: Path | str | None = None,
    defense: str | Mapping[str, Any] = "none",
    epochs: int | None = None,
    seed: int = 0,
) -> SplitFolder:
    """Cut a model in two and write the split folder, which device and server open.

    Args:
        model: A module with one input, images in [0, 1], and one output, the logits, that torch.fx or torch.export can
            trace. A copy is cut, so that later changes of the module have no effect. Or a name from ``cutlayer list
            models``, or one such as ``mine.py:Net``.
        cut: A name from `cuts`.
        data: Its `train` part trains the model and the defense.
        out: The folder to write; a split folder of that name is replaced.
        weights: File of the model's weights: safetensors, or .pth, .pt and the like with a state dict.
        defense: A name from ``cutlayer list defenses``, or with options: ``{"name": "gaussian-noise", "sigma": 0.5}``.
        epochs: Passes over the training part before the cut. If left out, a module, and a model with a file of weights,
            is used as it is, and another model by name is trained for 4.
        seed: Seed of the training, and of the random weights of a model by name.

    Returns:
        The folder. If the model was a module, the halves in torch, which a white-box attacker needs, stay in the
        memory of this process: the folder on disk has both halves as ONNX only, because a file of weights cannot say
        which code they belong to.

    Raises:
        SplitError: The model cannot be cut there, or a half cannot be exported.
        ConfigError: The model or the defense is unknown, the weights do not fit, or an option has the wrong type.
    """
    from cutlayer import training
    from cutlayer.defenses.base import check_kind
    from cutlayer.experiment.spec import Training
    from cutlayer.models import folder
    from cutlayer.models.halves import copied
    from cutlayer.models.halves import split as split_at
    from cutlayer.registry import DATASETS, defense_from
    from cutlayer.split_folder import SplitFolder

    description = {"name": defense} if isinstance(defense, str) else dict(defense)
    hardening = defense_from(description)
    check_kind(hardening, data.modality)
    by_name = isinstance(model, str)
    if epochs is None:
        epochs = Training().epochs if by_name and weights is None else 0
    name, chosen = _built(model, data.input, len(data.classes), seed, weights)
    halves = split_at(chosen, cut, data.input)
    classes = _classes(halves, data)
    with told(say):
        if epochs:
            if not data.classes:
                raise ConfigError(
                    f"The {data.modality.one[1]} of {data.name} have no labels, which training needs; leave out epochs."
                )
            training.train(chosen, data.train, epochs=epochs, seed=seed)
        halves = copied(hardening.harden(halves, data, seed))
    manifest = folder.save(
        Path(out), halves, model=name, classes=classes, defense=description, learned=hardening.learned,
        data=data.name if DATASETS.takes(data.name) else None, weights=by_name,
    )  # fmt: skip
    return SplitFolder(Path(out), manifest, None if by_name else halves)


def _built(
    model: nn.Module | str, input: TensorSpec, classes: int, seed: int = 0, weights: Path | str | None = None
) -> tuple[str, nn.Module]:
    """The name and a copy of a module; or the model that a name stands for, with so many logits (0: its own number)."""
    from cutlayer import own
    from cutlayer.models import zoo
    from cutlayer.models.start import Start
    from cutlayer.models.weights import load_weights

    if not isinstance(model, str):
        copied = copy.deepcopy(model)
        if weights is not None:
            load_weights(copied, Path(weights))
        return type(model).__name__, copied
    if model.endswith(".onnx"):
        raise ConfigError(
            f"{model} is cut by `cutlayer split {model}`; open the folder that it writes with cutlayer.open_split."
        )
    # What is recorded is found again from any folder.
    name = own.resolved(model, Path.cwd())
    start = Start("" if weights is None else str(Path(weights).absolute()))
    return name, zoo.build(name, input, classes or None, seed, start)


def _classes(halves: SplitModel, data: Splits) -> int:
    """The number of logits of a model.

    Raises:
        SplitError: The output of the model is no row of logits, or there are fewer of them than classes.
    """
    import torch

    from cutlayer.models.graph import nothing

    with torch.no_grad():
        shape: tuple[int, ...] = tuple(halves.tail(halves.head(nothing(data.input, 1))).shape)
    if len(shape) != 2 or shape[0] != 1 or shape[1] < len(data.classes):
        raise SplitError(
            f"The model gives {shape} for one input, but the data has {len(data.classes)} classes; its output must be "
            "(N, classes), one logit for each class at least."
        )
    return shape[1]


def open_split(folder: Path | str) -> SplitFolder:
    """Open a split folder that `split` or ``cutlayer split`` wrote. Without torch, `SplitFolder.head` still works.

    Raises:
        SplitError: The folder is no split folder, or its manifest is damaged.
    """
    from cutlayer.split_folder import open_split

    return open_split(Path(folder))


def observe(
    split: SplitFolder, inputs: NDArray[np.float32], *, codec: str = "raw", seed: int | None = None
) -> NDArray[Any]:
    """What the server receives for these inputs: ``decode(encode(protect(head(x))))``, sent one by one.

    Args:
        split: The split folder, whose own head and defense are used.
        inputs: ``(N, *input.shape)`` in [0, 1], as a device takes them.
        codec: A name from ``cutlayer list codecs``.
        seed: Seed of the defense's draws; if left out, each call draws afresh, as the device does.

    Returns:
        ``(N, *smashed.shape)``.

    Raises:
        DataError: The head does not take such inputs.
    """
    from cutlayer.defenses.base import deployed
    from cutlayer.edge.inputs import contract
    from cutlayer.privacy.view import wire

    draws = [secrets.randbits(64)] if seed is None else [seed, 2]
    return _arrived(
        wire(split.head(), deployed(split), codec, draws, split.manifest.length), contract(split.manifest)(inputs)
    )


def _arrived(wired: Wire, inputs: NDArray[np.float32]) -> NDArray[Any]:
    """What arrives for these inputs if they are sent one by one, as a device sends them."""
    return np.concatenate([wired(inputs[i : i + 1]) for i in range(len(inputs))])


def view(split: SplitFolder, access: AccessName | Access, data: Splits, *, codec: str = "raw", seed: int = 0) -> View:
    """What an attacker may touch: exactly what the threat model grants. What it withholds raises `WithheldError`.

    Args:
        split: The split folder, whose own head and defense answer the queries.
        access: What the attacker knows of the head.
        data: Its `auxiliary` part is the attacker's own; the other parts are not in the view.
        codec: A name from ``cutlayer list codecs``.
        seed: Seed of the attacker's own random choices, and of the draws behind the queries.
    """
    from cutlayer.attacks.view import Access
    from cutlayer.privacy.view import view_of

    granted = Access.named(access) if isinstance(access, str) else access
    return view_of(split, granted, data.auxiliary, codec=codec, seed=seed)


def attack(
    attack: str | Attack, split: SplitFolder, data: Splits, /, *, n: int = 32, codec: str = "raw", seed: int = 0,
    **options: Any,
) -> Attacked:  # fmt: skip
    """Fit an attack on what its threat model grants, reconstruct private images from what arrives, and score them.

    Args:
        attack: A name from ``cutlayer list attacks``; or an attack of your own, see `cutlayer.attacks.base.Attack`.
        split: The split folder, whose own head and defense are attacked.
        data: The attacker holds its `auxiliary` part; the first n images of its `private` part are the victims.
        n: Number of private images.
        codec: A name from ``cutlayer list codecs``.
        seed: Seed of the attacker, of the draws of the defense, and of the intervals.
        options: Options of an attack by name, such as ``epochs=5``.

    Raises:
        ConfigError: The attack or an option is unknown.
        WithheldError: The attack needs what the split folder does not have, such as the head in torch.
        DataError: The attacker holds some of the private images already.
    """
    import torch

    from cutlayer.attacks.base import Attack as AnyAttack
    from cutlayer.data.overlap import check_apart
    from cutlayer.defenses.base import deployed
    from cutlayer.metrics.nearness import distances
    from cutlayer.privacy.identification import candidates, identification
    from cutlayer.privacy.score import score
    from cutlayer.privacy.view import view_of, watched
    from cutlayer.records.run import PIXELS, WATCH_LIST
    from cutlayer.registry import ATTACKS
    from cutlayer.tables import Named

    check_apart(data, n)
    chosen: Attack = ATTACKS.make(attack, **options) if isinstance(attack, str) else attack
    seen = view_of(split, chosen.needs, data.auxiliary, codec=codec, seed=seed, sees=chosen.sees)
    originals = data.private.inputs[:n]
    wired = watched(chosen.sees, split.head(), deployed(split), codec, [seed, 2], split.manifest.length)
    with told(say):
        chosen.fit(seen)
        releases = np.stack([_arrived(wired, originals) for _ in range(chosen.n_releases)])
        arrived, pool = torch.from_numpy(releases).to(seen.device), candidates(data)
        rebuilt = chosen.invert_releases(arrived).to(pool.dtype).cpu() if chosen.reconstructs else None
        if rebuilt is not None and type(chosen).identify is AnyAttack.identify:
            how, likely = PIXELS, -distances(rebuilt, pool)
        else:
            how, likely = WATCH_LIST, chosen.identify(arrived, pool.to(seen.device))
    label = Named(attack, options).label if isinstance(attack, str) else repr(attack)
    found, _ = identification(
        likely, data, attack=label, label=label, access=chosen.needs.name, deployment="",
        n_releases=chosen.n_releases, how=how,
    )  # fmt: skip
    if rebuilt is None:
        return Attacked(label, originals, None, None, found)
    return Attacked(label, originals, rebuilt.numpy(), score(rebuilt, data, seed), found)


def probe(
    target: str,
    split: SplitFolder,
    data: Splits,
    /,
    *,
    attribute: str = "",
    network: Literal["linear", "mlp"] = "linear",
    n_releases: int = 1,
    n: int = 200,
    codec: str = "raw",
    seed: int = 0,
) -> tuple[ProbeRecord, ...]:
    """Infer something else than the picture from smashed data: what it tells beyond the answer of the tail.

    Args:
        target: A name from ``cutlayer list probes``: class, attribute, identity or membership.
        split: The split folder, whose own head and defense are probed.
        data: The attacker holds its `auxiliary` part; the first n images of its `private` part are the victims, and for
            the membership the first n of `train` are the members.
        attribute: Name of the attribute, where that is the target: one of ``data.attributes``, or ``bright``.
        network: What is fitted.
        n_releases: Releases of one image that are observed, where the defense is random.
        n: Number of images.
        codec: A name from ``cutlayer list codecs``.
        seed: Seed of the attacker, of the draws of the defense, and of the intervals.

    Returns:
        One record, or one for each score of the membership: AUC, that of a baseline, and their difference, with n and
        95 % intervals.

    Raises:
        ConfigError: What is asked for is unknown, or the data do not hold it.
        DataError: The attacker holds some of the private images already.
    """
    from cutlayer.attacks.view import Access
    from cutlayer.data.overlap import check_apart
    from cutlayer.defenses.base import deployed
    from cutlayer.privacy.probes import check
    from cutlayer.privacy.probes import probe as measure
    from cutlayer.privacy.view import view_of, wire

    check(target, attribute, network, n, data)
    check_apart(data, n)
    seen = view_of(split, Access.BLACK_BOX, data.auxiliary, codec=codec, seed=seed)
    wired = wire(split.head(), deployed(split), codec, [seed, 3], split.manifest.length)
    with told(say):
        return measure(
            seen, wired, data, target=target, attribute=attribute, network=network, n_releases=n_releases, images=n
        )  # fmt: skip


def score(
    reconstructions: NDArray[np.float32] | Tensor, data: Splits, *, seed: int = 0, metrics: Sequence[str] = (),
    weights_root: Path | str | None = None,
) -> Score:  # fmt: skip
    """How near reconstructions come to the first private images: the standard metrics, and the leakage gain.

    Its metric ``identification`` compares reconstructions with the candidates in pixels. An attacker who encodes the
    candidates with the device's own half finds more: ``attack("watch-list", split, data)`` says how many, and `run`
    reports the greater of both.

    Args:
        reconstructions: ``(N, C, H, W)`` in [0, 1], of the first N images of ``data.private``, in their order.
        data: The true images, the candidates of the identification, and the auxiliary images whose mean is the floor.
        seed: Seed of the bootstrap that gives the 95 % intervals.
        metrics: Metrics beside the standard ones, from ``cutlayer list metrics``; one whose file of weights is missing
            is NaN, which is said, and so is one that needs an evaluation classifier, which only `run` trains.
        weights_root: Folder of published weights; the environment variable CUTLAYER_WEIGHTS, or the folder ``weights``
            in that of the data sets, if left out.
    """
    import torch

    from cutlayer.privacy.score import Chosen
    from cutlayer.privacy.score import score as score_tensor

    chosen = Chosen(tuple(metrics), None if weights_root is None else Path(weights_root))
    for note in chosen.notes(len(reconstructions), judged=False):
        say(f"note: {note}")
    return score_tensor(torch.as_tensor(reconstructions).detach().float().cpu(), data, seed, chosen)


def run(
    plan: Path | str,
    *,
    changes: Mapping[str, str] | None = None,
    out: Path | str = "runs",
    data_root: Path | str | None = None,
    weights_root: Path | str | None = None,
    say: Callable[[str], None] = print,
) -> list[Result]:
    """Run every experiment of a plan, as ``cutlayer run`` does, and return the records.

    Args:
        plan: A TOML file, or the name of an example from ``cutlayer list examples``.
        changes: Values to change, such as ``{"training.epochs": "1"}``.
        out: Folder for the records; an experiment that is finished there is not run again.
        data_root: Folder of the data sets that are not embedded.
        weights_root: Folder of published weights; see `score`.
        say: Called with each line of progress.

    Raises:
        ConfigError, SplitError, DataError: Something cannot work; found before anything is trained or written.
    """
    from cutlayer.experiment import examples
    from cutlayer.experiment.plan import load
    from cutlayer.experiment.run import run_all

    path = Path(plan) if str(plan).endswith(".toml") else examples.path(str(plan))
    root, weights = (None if folder is None else Path(folder) for folder in (data_root, weights_root))
    with told(say):
        return run_all(
            load(path, changes), Path(out), resume=True, data_root=root, say=say, weights_root=weights
        )  # fmt: skip


def train(
    plan: Path | str | Mapping[str, Any], *, changes: Mapping[str, str] | None = None, out: Path | str = "runs",
    data_root: Path | str | None = None, resume: bool = False, compare: bool = True,
    on: Callable[[Event], None] | None = None, say: Callable[[str], None] = print,
) -> TrainingRecord:  # fmt: skip
    """Train a model by clients and a server in this process, as ``cutlayer train --in-process`` does.

    Args:
        plan: A TOML file, or the same as a dict: ``{"data": "mnist", "model": "lenet", "cut": "pool1",
            "protocol": "splitfed-v1"}``; see docs/training.md.
        changes: Values to change in a file, such as ``{"optimizer.lr": "0.01"}``.
        out: Folder for the records; a plan that is finished there is not trained again.
        data_root: Folder of the data sets that are not embedded.
        resume: Go on with a run of this plan that was interrupted.
        compare: Train each client alone as well, and attack the smashed data of the first and the last round.
        on: A callback, called with each `cutlayer.protocols.events.Event` at the server and at the clients.
        say: Called with each line of progress and of the table of the rounds.

    Returns:
        The record: accuracy, loss, bytes and times of each round, and what they have to be compared with.

    Raises:
        ConfigError, DataError, SplitError: The plan cannot be trained; found before anything is written.
        Refused: The training has failed; the message says at which client and step.
    """
    from cutlayer.experiment.training import train as run
    from cutlayer.protocols import plan as plans
    from cutlayer.protocols.events import unheard

    read = plans.parse(plan) if isinstance(plan, Mapping) else plans.load(Path(plan), changes)
    root = None if data_root is None else Path(data_root)
    return run(
        read, out=Path(out), data_root=root, resume=resume, transport=None, record=False, compare=compare, log=(),
        tell=say, say=say, on=on or unheard,
    )  # fmt: skip


def serve(
    split: SplitFolder,
    listen: str = "grpc://127.0.0.1:0",
    *,
    tap: Path | str | None = None,
    codecs: Sequence[str] = (),
) -> AbstractContextManager[str]:
    """Serve the tail of a split folder from a process of its own until the block ends; gives the address.

    Args:
        split: The split folder.
        listen: Address; port 0 takes a free one.
        tap: Folder for a copy of everything that arrives; `cutlayer.cloud.tap.read` reads it.
        codecs: Codecs of your own that devices will use, such as ``mine.py:Negative``.

    Raises:
        Unreachable: The server did not get ready; the message holds its last line.
    """
    from cutlayer.deployment import processes

    words = [] if tap is None else ["--tap", tap]
    return processes.cloud(split.path, "--listen", listen, *words, codecs=codecs)


@contextmanager
def connect(
    split: SplitFolder, address: str, *, codec: str = "raw", security: Security | None = None
) -> Iterator[Edge]:
    """Connect a device to the server at an address; ``device.infer(images)`` gives the logits and the times.

    Images are ``(N, *input.shape)`` in [0, 1], float32 or another floating point type. Others raise DataError, which
    says what to do; see `cutlayer.edge.inputs.contract`.

    Args:
        split: The split folder, whose own head and defense run here.
        address: Address of a server of the same split folder.
        codec: A name from ``cutlayer list codecs``.
        security: Files for encryption and authentication; plain text if left out, on this machine only.

    Raises:
        SplitError: The server holds another split.
        WireError: There is no connection.
    """
    from cutlayer.defenses.base import deployed
    from cutlayer.edge.client import Edge
    from cutlayer.edge.pipeline import Pipeline
    from cutlayer.wire import connect as wire
    from cutlayer.wire.codecs.packed import codec_named
    from cutlayer.wire.security import PLAIN

    with closing(wire.connect(address, security=security or PLAIN)) as transport:
        yield Edge(
            split.manifest,
            Pipeline(split.head(), deployed(split), codec_named(codec), split.manifest.length),
            transport,
        )
