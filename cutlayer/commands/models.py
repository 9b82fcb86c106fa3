"""Commands that list names, show the cuts of a model, and split it."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite, nan
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer import own
from cutlayer.data.modality import TABLE
from cutlayer.errors import ConfigError
from cutlayer.models.start import Start
from cutlayer.onnx.given import given
from cutlayer.options import Classes, DataRoot, Epochs, Gigabytes, OutFolder, Seconds, Seed, Weights
from cutlayer.registry import DATASETS, MODELS
from cutlayer.spec import TensorSpec, input_shape
from cutlayer.terminal import say, tell, tell_lines

Texts = UseAppendAction[list[str]]
Cuttable = Annotated[str, arg(metavar="MODEL")]


def list_names(
    kind: Positional[
        Literal[
            "attacks",
            "label-attacks",
            "update-attacks",
            "class-attacks",
            "defenses",
            "gradient-defenses",
            "update-defenses",
            "answer-defenses",
            "detectors",
            "models",
            "datasets",
            "metrics",
            "codecs",
            "transports",
            "engines",
            "probes",
            "examples",
            "protocols",
            "partitions",
        ]
    ],
    /,
) -> None:
    """List the names that experiments and commands accept, with their options and defaults.

    Names that other installed packages offer come last. package.module:attribute and path/to/file.py:attribute are
    accepted as well.
    """
    from cutlayer import registry
    from cutlayer.experiment import examples

    if kind == "probes":
        from cutlayer.privacy.probes import TARGETS

        for name, words in TARGETS.items():
            tell(f"{name:22} {words}")
        return
    if kind == "protocols":
        from cutlayer.protocols.row import PROTOCOLS

        for name, row in PROTOCOLS.items():
            tell(f"{name:22} {row.says}")
        return
    if kind == "partitions":
        from cutlayer.data.partition import LAWS

        for name, law in LAWS.items():
            tell(f"{name:22} {(law.__doc__ or '').strip()}")
        return
    if kind == "examples":
        for name in examples.names():
            tell(f"{name:22} {examples.summary(name)}")
        return
    table: registry.Registry = getattr(registry, kind.upper().replace("-", "_"))
    packages = table.offered()
    for name in (*table, *packages):
        try:
            text = table.summary(name)
        except ConfigError as error:
            text = f"({error})"
        tell(f"{name:22} {text}" + (f" (from {packages[name]})" if name in packages else ""))
    for name, other in table.hidden().items():
        say(f"note: another package offers {name!r} as well; write {other} for that one.")


def cuts(
    model: Positional[Cuttable],
    /,
    input: Texts = [],  # noqa: B006
    classes: Classes = None,
    state: Texts = [],  # noqa: B006
    constant: Texts = [],  # noqa: B006
    public: Texts = [],  # noqa: B006
    limit_s: Seconds | None = None,
    limit_gb: Gigabytes | None = None,
) -> None:
    """List every place where a model can be cut: name, shape, bytes, params and MACs of the head.

    Args:
        model: A name from `cutlayer list models`, an ONNX file, a model of your own such as mine.py:Net, or hf/FOLDER
            for a language model in a folder of Hugging Face layout.
        input: Shape of one image, such as 3x32x32, greatest number of tokens of a sentence or numbers of a row, such
            as 64, or shape of an input of an ONNX file by name, audio=1x576; the model's own if left out.
        classes: Number of outputs of the model; 10 if left out. An ONNX file and a model of your own have theirs.
        state: For an ONNX file, an input that takes what an output of the request before gave: h=hn.
        constant: For an ONNX file, an input that always has the same value: sr=16000.
        public: For an ONNX file, an input that the server may see, so that both halves may take it: mask.
        limit_s: For an ONNX file, the time in seconds that the work on it may take; 600 if left out.
        limit_gb: For an ONNX file, the memory in GB that it may take; three quarters of this machine's if left out.
    """
    if model.endswith(".onnx"):
        from cutlayer.commands.onnx_files import print_cuts
        from cutlayer.machine.confined import confined, limits

        _leave_out("--classes", classes)
        stated = given(input, state, constant, public)
        confined(lambda: print_cuts(Path(model), stated), limits(limit_s, limit_gb), model)
        return
    _only_onnx(_of_onnx(state, constant, public, limit_s, limit_gb))
    from cutlayer.commands.cut_table import table
    from cutlayer.models import zoo
    from cutlayer.models.cuts import cuts as find_cuts

    model = own.resolved(model, Path.cwd())
    spec = _input(model, input) or zoo.default_input(model)
    if classes is None and not MODELS.is_own(model) and not own.in_folder(model):
        classes = 10
    tell_lines(table(MODELS.label(model), spec, find_cuts(zoo.build(model, spec, classes), spec)))


def split(
    model: Positional[Cuttable],
    /,
    cut: str,
    out: OutFolder,
    data: str | None = None,
    weights: Weights = None,
    classes: Classes = None,
    input: Texts = [],  # noqa: B006
    state: Texts = [],  # noqa: B006
    constant: Texts = [],  # noqa: B006
    public: Texts = [],  # noqa: B006
    mean: str | None = None,
    std: str | None = None,
    epochs: Epochs | None = None,
    seed: Seed = 0,
    force: bool = False,
    data_root: DataRoot = None,
    limit_s: Seconds | None = None,
    limit_gb: Gigabytes | None = None,
) -> None:
    """Train a model, cut it, and export the two halves as a split folder; or cut one that has its weights as it is.

    Args:
        model: A name from `cutlayer list models`, an ONNX file, a model of your own such as mine.py:Net, or hf/FOLDER
            for a language model in a folder of Hugging Face layout.
        cut: A name from `cutlayer cuts MODEL`.
        out: The folder to write.
        data: A name from `cutlayer list datasets`, or the path of a folder of images, an .npz or .npy file, a table as
            .csv, or sentences as .txt or as .csv with a column text. Needed for training, optional for a model that has
            its weights, to measure its accuracy.
        weights: File of the model's weights: safetensors, or .pth, .pt, .th and the like with a state dict.
        input: Shape of one image, such as 3x32x32, where there is no data set and the model does not say, or of an
            input of an ONNX file by name: audio=1x576; or the size that the images of a path get; or the greatest
            number of tokens of a sentence, or the numbers of a row, such as 64.
        classes: Number of outputs of a model with --weights, where there is no data set; the model's own if left out.
        state: An input of an ONNX file that takes what an output of the request before gave: h=hn.
        constant: An input of an ONNX file that always has the same value: sr=16000.
        public: An input of an ONNX file that the server may see, so that both halves may take it: mask.
        mean: Values subtracted from images in [0, 1] first, such as 0.485,0.456,0.406; see docs/own.md for what is done
            if left out.
        std: Values by which the result is divided, such as 0.229,0.224,0.225, or 0.00392157 for a model that takes 0 to
            255.
        epochs: Passes over the training part; if left out, 4 without and 0 with weights. An ONNX file is not trained.
            Of hf/FOLDER the classifier alone is trained; with 0 the model answers as its folder says: with a vector.
        seed: Seed of weights, order and splits.
        force: Replace a split folder that --out names.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
        limit_s: For an ONNX file, the time in seconds that the work on it may take, with the measurement of accuracy;
            600 if left out.
        limit_gb: For an ONNX file, the memory in GB that it may take; three quarters of this machine's if left out.
    """
    from cutlayer.models.files import check_free

    check_free(out, replace=force)
    if model.endswith(".onnx"):
        from cutlayer.commands.onnx_files import split_file
        from cutlayer.machine.confined import confined, limits

        for option, value in (("--epochs", epochs), ("--weights", weights), ("--classes", classes)):
            _leave_out(option, value)
        own.recordable(Path(model).name)
        stated = given(input, state, constant, public, mean, std)
        confined(
            lambda: split_file(Path(model), cut, out, stated, data=data, data_root=data_root, seed=seed),
            limits(limit_s, limit_gb), model,
        )  # fmt: skip
        return
    _only_onnx(_of_onnx(state, constant, public, limit_s, limit_gb))
    # What is recorded is found again from any folder.
    model, data = own.resolved(model, Path.cwd()), data and DATASETS.resolved(data, Path.cwd())
    start = start_of(weights, mean, std)
    passes = epochs if epochs is not None else 0 if weights else 4
    if data is None:
        if passes and not (own.in_folder(model) and epochs is None):
            raise ConfigError(
                "A model is trained first, on a data set; name one with --data, such as photos. Or give the model its "
                "weights with --weights FILE, or leave it as it is with --epochs 0."
            )
        tell(f"{out}: {_split_as_it_is(model, cut, out, _input(model, input), classes, seed, start)}")
        return
    from cutlayer import training
    from cutlayer.experiment import victim
    from cutlayer.experiment.spec import Experiment, Training
    from cutlayer.models import zoo

    experiment = Experiment(data, model, cut, seed=seed, input=",".join(input), start=start, training=Training(passes))
    splits = victim.load_data(experiment, data_root)
    for note in splits.notes:
        say(note)
    if own.in_folder(model) and epochs is None and not splits.classes:
        # There is nothing to train a classifier on: the model answers with a vector.
        experiment = replace(experiment, training=Training(0))
    if classes is not None and classes != len(splits.classes):
        raise ConfigError(f"{splits.name} has {len(splits.classes)} classes, not {classes}; leave out --classes.")
    victim.check_cut(experiment, splits)
    victim.check_defense(experiment, splits)
    trained = victim.train(experiment, splits, say)
    answers = zoo.n_classes(trained, splits.input)
    correct, n = training.accuracy(trained, splits.test) if answers == len(splits.classes) else (0, 0)
    manifest = victim.export(experiment, trained, splits, out, say)
    text = f"{MODELS.label(model)} cut at {cut}, smashed {manifest.smashed}"
    tell(f"{out}: {text}, " + (f"test accuracy {correct / n:.1%} (n = {n:,})" if n else f"{answers:,} numbers answer"))


def _split_as_it_is(
    model: str, cut: str, out: Path, input: TensorSpec | None, classes: int | None, seed: int, start: Start
) -> str:
    """Cut a model that is not trained, without a data set, and return what was done."""
    from cutlayer.models import folder, zoo
    from cutlayer.models.halves import split as split_at
    from cutlayer.models.text_folder import tokenizer_of

    spec = input or zoo.default_input(model)
    built = zoo.build(model, spec, classes, seed, start)
    halves = split_at(built, cut, spec)
    n_classes = zoo.n_classes(built, spec)
    spoken = tokenizer_of(model)
    manifest = folder.save(
        out, halves, model=model, classes=n_classes, defense={"name": "none"}, data=None,
        tokenizer=spoken.text if spoken else "",
    )  # fmt: skip
    answers = "numbers" if spoken else "classes"
    return f"{MODELS.label(model)} cut at {halves.cut}, smashed {manifest.smashed}, {n_classes:,} {answers}"


def start_of(weights: Path | None, mean: str | None, std: str | None) -> Start:
    """How a model by name begins, from the options of a command."""
    return Start("" if weights is None else str(weights.absolute()), _numbers("--mean", mean), _numbers("--std", std))


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(",")) if text is not None else ()
    except ValueError:
        numbers = (nan,)
    if not all(map(isfinite, numbers)):
        raise ConfigError(f"{option} takes numbers such as 0.485,0.456,0.406; {text!r:.80} was given.")
    return numbers


def _leave_out(option: str, value: object) -> None:
    if value is not None:
        raise ConfigError(f"{option} is not for ONNX files, which are cut as they are; leave it out.")


def _of_onnx(
    state: Texts, constant: Texts, public: Texts, limit_s: float | None, limit_gb: float | None
) -> dict[str, object]:
    """The options that only an ONNX file has, by name."""
    names = ("--state", "--constant", "--public", "--limit-s", "--limit-gb")
    return dict(zip(names, (state, constant, public, limit_s, limit_gb), strict=True))


def _only_onnx(options: dict[str, object]) -> None:
    for option, value in options.items():
        if value:
            raise ConfigError(
                f"{option} is for ONNX files; leave it out for a model by name, which takes the inputs of --data."
            )


def _input(model: str, texts: list[str]) -> TensorSpec | None:
    """One input of the model of the shape that the text states; None where there is no text."""
    if not texts:
        return None
    from cutlayer.models import zoo

    shape = input_shape(" ".join(texts))
    if len(shape) == 3:
        return TensorSpec(shape, "float32", 0.0, 1.0)
    stated = zoo.default_input(model)
    return replace(stated, shape=shape) if stated.is_tokens else TABLE.spec(*shape)
