"""Commands that list names, show the cuts of a model, and split it."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer.commands import say
from cutlayer.errors import ConfigError
from cutlayer.onnx.given import given
from cutlayer.spec import TensorSpec

Texts = UseAppendAction[list[str]]
Cuttable = Annotated[str, arg(metavar="MODEL")]


def list_names(
    kind: Positional[
        Literal["attacks", "defenses", "models", "datasets", "metrics", "codecs", "transports", "examples"]
    ],
    /,
) -> None:
    """List the names that experiments and commands accept, with their options and defaults.

    Names that other installed packages offer come last. package.module:attribute and path/to/file.py:attribute are
    accepted as well.
    """
    from cutlayer import registry
    from cutlayer.experiment import examples

    if kind == "examples":
        for name in examples.names():
            print(f"{name:22} {examples.summary(name)}")
        return
    table: registry.Registry = getattr(registry, kind.upper())
    packages = table.offered()
    for name in (*table, *packages):
        try:
            text = table.summary(name)
        except ConfigError as error:
            text = f"({error})"
        print(f"{name:22} {text}" + (f" (from {packages[name]})" if name in packages else ""))
    for name, other in table.hidden().items():
        say(f"note: another package offers {name!r} as well; write {other} for that one.")


def cuts(
    model: Positional[Cuttable],
    /,
    input: Texts = [],  # noqa: B006
    classes: int | None = None,
    state: Texts = [],  # noqa: B006
    constant: Texts = [],  # noqa: B006
    public: Texts = [],  # noqa: B006
) -> None:
    """List every place where a model can be cut: name, shape, bytes, params and MACs of the head.

    Args:
        model: A name from `cutlayer list models`, or an ONNX file.
        input: Shape of one image, such as 3x32x32, or of an input of an ONNX file by name, audio=1x576; the model's own
            if left out.
        classes: Number of outputs of the model; 10 if left out. An ONNX file has its own.
        state: For an ONNX file, an input that takes what an output of the request before gave: h=hn.
        constant: For an ONNX file, an input that always has the same value: sr=16000.
        public: For an ONNX file, an input that the server may see, so that both halves may take it: mask.
    """
    if model.endswith(".onnx"):
        from cutlayer.commands.onnx_files import print_cuts

        _leave_out("--classes", classes)
        print_cuts(Path(model), given(input, state, constant, public))
        return
    _only_onnx({"--state": state, "--constant": constant, "--public": public})
    from cutlayer.commands.cut_table import table
    from cutlayer.models import zoo
    from cutlayer.models.cuts import cuts as find_cuts

    spec = _image(input) or zoo.default_input(model)
    print(table(model, spec, find_cuts(zoo.build(model, spec, 10 if classes is None else classes), spec)))


def split(
    model: Positional[Cuttable],
    /,
    cut: str,
    out: Path,
    data: str | None = None,
    input: Texts = [],  # noqa: B006
    state: Texts = [],  # noqa: B006
    constant: Texts = [],  # noqa: B006
    public: Texts = [],  # noqa: B006
    mean: str | None = None,
    std: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    data_root: Path | None = None,
) -> None:
    """Train a model, cut it, and export the two halves as a split folder; or cut an ONNX file as it is.

    Args:
        model: A name from `cutlayer list models`, or an ONNX file.
        cut: A name from `cutlayer cuts MODEL`.
        out: The folder to write.
        data: A name from `cutlayer list datasets`, or the path of a folder of images, an .npz or .npy file.
            Optional for an ONNX file, to measure its accuracy.
        input: Shape of one image, for an ONNX file that leaves it open, or of an input by name: audio=1x576; or the
            size that the images of a path get, such as 3x64x64.
        state: An input of an ONNX file that takes what an output of the request before gave: h=hn.
        constant: An input of an ONNX file that always has the same value: sr=16000.
        public: An input of an ONNX file that the server may see, so that both halves may take it: mask.
        mean: Values that an ONNX file needs subtracted from images in [0, 1], such as 0.485,0.456,0.406.
        std: Values by which the result is divided, such as 0.229,0.224,0.225, or 0.00392157 for a file that takes 0 to
            255.
        epochs: Passes over the training part; 4 if left out. An ONNX file is not trained.
        seed: Seed of weights, order and splits.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
    """
    if model.endswith(".onnx"):
        from cutlayer.commands.onnx_files import split_file

        _leave_out("--epochs", epochs)
        split_file(
            Path(model), cut, out, given(input, state, constant, public, mean, std), data=data, data_root=data_root,
            seed=seed,
        )  # fmt: skip
        return
    _only_onnx({"--state": state, "--constant": constant, "--public": public, "--mean": mean, "--std": std})
    if data is None:
        raise ConfigError("A model by name is trained first; name a data set with --data, such as photos.")
    from cutlayer import training
    from cutlayer.experiment import victim
    from cutlayer.experiment.spec import Experiment, Training
    from cutlayer.registry import DATASETS

    experiment = Experiment(
        DATASETS.resolved(data, Path.cwd()), model, cut, seed=seed, input=",".join(input),
        training=Training() if epochs is None else Training(epochs),
    )  # fmt: skip
    splits = victim.load_data(experiment, data_root)
    for note in splits.notes:
        say(note)
    victim.check_cut(experiment, splits)
    trained = victim.train(experiment, splits, say)
    correct, n = training.accuracy(trained, splits.test)
    manifest = victim.export(experiment, trained, splits, out, say)
    print(f"{out}: {model} cut at {cut}, smashed {manifest.smashed}, test accuracy {correct / n:.1%} (n = {n:,})")


def _leave_out(option: str, value: object) -> None:
    if value is not None:
        raise ConfigError(f"{option} is not for ONNX files, which are cut as they are; leave it out.")


def _only_onnx(options: dict[str, object]) -> None:
    for option, value in options.items():
        if value:
            raise ConfigError(
                f"{option} is for ONNX files; leave it out for a model by name, which takes the images of --data."
            )


def _image(texts: list[str]) -> TensorSpec | None:
    """One image in [0, 1] of the shape that the text states; None where there is no text."""
    if not texts:
        return None
    shape = given(texts).shape
    if shape is None or len(shape) != 3:
        raise ConfigError(f"A shape has the form CxHxW, such as 3x32x32; {' '.join(texts)!r} was given.")
    return TensorSpec(shape, "float32", 0.0, 1.0)
