"""What static quantization of the head gains in time and costs in accuracy, at early and at late cuts.

    .venv/bin/python benchmarks/int8_heads.py

Each model is trained once and cut at several places. Heads run one image at a time on one thread, float32 and int8 in
turns; accuracy is that of head and tail in ONNX Runtime on the test images, none of which is used for calibration. A
second table has heads for larger images with random weights, for which there is a time and no accuracy.
"""

import tempfile
from pathlib import Path

import numpy as np
from torch import nn

from cutlayer.data.load import load
from cutlayer.data.splits import Dataset
from cutlayer.experiment import victim
from cutlayer.experiment.spec import Experiment
from cutlayer.models import folder
from cutlayer.models.halves import split
from cutlayer.models.manifest import HEAD_ONNX
from cutlayer.models.zoo import IMAGENET, build
from cutlayer.onnx.int8 import quantize_head
from cutlayer.profile.int8_effect import Effect, compare
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split
from cutlayer.terminal import say

TRAINED = {
    "vgg11_bn": ("features.0", "features.3", "features.7", "features.14"),
    "resnet20": ("relu", "layer1.2", "layer2.2"),
    "mobilenet_v2": ("features.2", "features.6", "features.13"),
}
TIMED = {
    "mobilenet_v2": ("features.0", "features.3", "features.6", "features.13"),
    "resnet18": ("relu", "layer1", "layer2", "layer3"),
}
CALIBRATION, ROUNDS = 100, 200
TITLE = f"{'':28} {'float32 ms':>11} {'int8 ms':>9} {'gain':>6} {'kB':>7} {'int8 kB':>8}  accuracy, same answers"


def measured(
    model: nn.Module, name: str, cut: str, input: TensorSpec, classes: int, calibration: np.ndarray, test: Dataset
) -> Effect:
    """Compare the head at a cut in float32 and in int8."""
    with tempfile.TemporaryDirectory() as scratch:
        exact, small = Path(scratch) / "float32", Path(scratch) / "int8"
        halves = split(model, cut, input)
        folder.save(exact, halves, model=name, classes=classes, defense={"name": "none"}, data=None)
        float32 = open_split(exact)
        float32.with_head(
            small, lambda path: quantize_head(float32.file(HEAD_ONNX), float32.manifest, calibration, path)
        )
        return compare(float32, open_split(small), test.inputs, test.labels, rounds=ROUNDS)


def row(name: str, effect: Effect, accuracy: str) -> str:
    """One line of the table."""
    exact, small = (np.median(times) / 1e6 for times in (effect.float32_ns, effect.int8_ns))
    kilobytes = f"{effect.float32_bytes / 1e3:7.0f} {effect.int8_bytes / 1e3:8.0f}"
    return f"{name:28} {exact:11.3f} {small:9.3f} {effect.gain:5.2f}x {kilobytes}  {accuracy}"


def main() -> None:
    """Print both tables."""
    data = load("photos")
    print(f"trained on {data.name}, {data.input}, {len(data.test)} test images\n{TITLE}")
    for name, cuts in TRAINED.items():
        model = victim.train(Experiment(data.name, name, cuts[0]), data, say)
        for cut in cuts:
            effect = measured(
                model, name, cut, data.input, len(data.classes), data.train.take(CALIBRATION).inputs, data.test
            )
            before, after = (f"{correct / effect.n:.1%}" for correct in (effect.float32_correct, effect.int8_correct))
            same = f"{effect.agreed} of {effect.n}"
            print(row(f"{name} {cut}", effect, f"{before} -> {after}, {same}"), flush=True)
    print(f"\nrandom weights, {IMAGENET}\n{TITLE.partition('  accuracy')[0]}")
    noise = np.random.default_rng(0).random((8, *IMAGENET.shape), np.float32)
    for name, cuts in TIMED.items():
        model = build(name, IMAGENET, 10)
        for cut in cuts:
            effect = measured(model, name, cut, IMAGENET, 10, noise, Dataset(noise, np.zeros(len(noise), np.int64)))
            print(row(f"{name} {cut}", effect, ""), flush=True)


if __name__ == "__main__":
    main()
