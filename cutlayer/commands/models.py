"""What there is to choose from, where a model can be cut, and cutting it."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from cutlayer.commands import say
from cutlayer.errors import ConfigError

Cuttable = Annotated[str, arg(metavar="MODEL")]


def list_names(
    kind: Positional[Literal["attacks", "defenses", "models", "datasets", "metrics", "codecs", "transports"]], /
) -> None:
    """Names that experiments and commands can use, with their options and defaults."""
    from cutlayer import registry

    table: registry.Registry = getattr(registry, kind.upper())
    for name in table:
        print(f"{name:22} {table.summary(name)}")


def cuts(
    model: Positional[Cuttable],
    /,
    input: str | None = None,
    classes: int = 10,
) -> None:
    """Every place the model can be cut: name, shape, bytes, params and MACs of the head.

    Args:
        model: A name from `cutlayer list models`.
        input: Shape of one image, such as 3x32x32; the model's own when left out.
        classes: Outputs of the model.
    """
    from cutlayer.models import zoo
    from cutlayer.models.cuts import cuts as find_cuts

    spec = zoo.default_input(model) if input is None else _shape(input)
    print(f"{model} for {spec} images, {spec.nbytes:,} bytes each")
    print(f"{'cut':32} {'smashed':>14} {'bytes':>12} {'of input':>9} {'head params':>12} {'head MACs':>14}")
    for cut in find_cuts(zoo.build(model, spec, classes), spec):
        shape = "x".join(map(str, cut.shape))
        ratio = cut.nbytes / spec.nbytes
        print(f"{cut.name:32} {shape:>14} {cut.nbytes:>12,} {ratio:>8.2f}x {cut.params:>12,} {cut.macs:>14,}")


def split(
    model: Positional[Cuttable],
    /,
    cut: str,
    data: str,
    out: Path,
    epochs: int = 4,
    seed: int = 0,
    data_root: Path | None = None,
) -> None:
    """Train a model, cut it, and export the two halves as a split folder.

    Args:
        model: A name from `cutlayer list models`.
        cut: A name from `cutlayer cuts MODEL`.
        data: A name from `cutlayer list datasets`.
        out: The folder to write.
        epochs: Passes over the training part.
        seed: Of weights, order and splits.
        data_root: Where data sets that are not embedded lie; CUTLAYER_DATA or ./data when left out.
    """
    from cutlayer.data.load import load
    from cutlayer.experiment import victim
    from cutlayer.experiment.nouns import Experiment, Training

    splits = load(data, data_root, seed)
    experiment = Experiment(data, model, cut, seed=seed, training=Training(epochs=epochs))
    victim.check_cut(experiment, splits)
    trained = victim.train(experiment, splits, say)
    correct, n = victim.accuracy(trained, splits.test)
    manifest = victim.export(experiment, trained, splits, out, say)
    print(f"{out}: {model} cut at {cut}, smashed {manifest.smashed}, test accuracy {correct / n:.1%} (n = {n:,})")


def _shape(text: str):  # type: ignore[no-untyped-def]
    from cutlayer.spec import image_spec

    try:
        channels, height, width = map(int, text.split("x"))
    except ValueError:
        raise ConfigError(f"A shape reads CxHxW, such as 3x32x32, not {text!r}.") from None
    return image_spec(channels, height, width)
