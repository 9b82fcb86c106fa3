"""What PATROL's removal of channels saves on the device: the head at a cut, a deeper one, and the deeper one pruned.

    .venv/bin/python benchmarks/pruned_head.py

Prints the size of each exported head, its cost, the bytes that it sends, and the time of ONNX Runtime for one image on
one thread. The channels to remove are drawn at random, because no duration depends on them.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.interleaved import compare
from cutlayer.defenses.surgery.budget import macs, within_budget
from cutlayer.defenses.surgery.pruning import removable, remove
from cutlayer.models.export import export_onnx
from cutlayer.models.halves import SplitModel, join, split
from cutlayer.models.widths import measured
from cutlayer.models.zoo import build
from cutlayer.onnx.session import open_half, runtime
from cutlayer.spec import TensorSpec, image_spec

VICTIMS = {"vgg11_bn": ("features.7", "features.14"), "resnet20": ("layer1.1", "layer2.0")}
IMAGE, REPEATS = image_spec(3, 32, 32), 50


def cost(halves: SplitModel) -> int:
    """Multiply-accumulates of the head for one image."""
    return sum(macs(halves.head, IMAGE).values())


def pruned(halves: SplitModel, budget: int) -> SplitModel:
    """Prune the halves in place, so that the head costs no more than the budget."""
    draws = torch.Generator().manual_seed(0)
    groups = removable(join(halves), halves.head)
    strengths = [torch.rand(channels.count, generator=draws) for channels in groups]
    for channels, keep in zip(groups, within_budget(groups, strengths, macs(halves.head, IMAGE), budget), strict=True):
        remove(channels, keep, torch.ones(channels.count))
    return measured(halves)


def prepare(path: Path) -> Callable[[], int]:
    """Run a head in ONNX Runtime, for `compare`."""
    (gives,) = runtime().InferenceSession(path).get_outputs()
    head = open_half(path, 1, {"image": IMAGE}, {"smashed": TensorSpec(tuple(gives.shape[1:]))})
    image = np.zeros((1, *IMAGE.shape), np.float32)

    def work() -> int:
        for _ in range(REPEATS):
            head(image)
        return REPEATS

    return work


def main() -> None:
    """Print one table for each victim."""
    for model, (base, deeper) in VICTIMS.items():
        at_base, at_deeper = (split(build(model, IMAGE, 10), cut, IMAGE) for cut in (base, deeper))
        heads = {f"{base}": at_base, f"{deeper}": at_deeper}
        heads[f"{deeper}, pruned"] = pruned(split(build(model, IMAGE, 10), deeper, IMAGE), cost(at_base))
        print(f"\n{model}\n{'':40}   ONNX kB    MMACs   params    sent B")
        with tempfile.TemporaryDirectory() as folder:
            contenders = {}
            for name, halves in heads.items():
                path = Path(folder) / f"{name}.onnx"
                export_onnx(halves.head, IMAGE, path, "image", "smashed")
                parameters = sum(p.numel() for p in halves.head.parameters())
                kilobytes, mmacs = path.stat().st_size / 1e3, cost(halves) / 1e6
                print(f"{name:40} {kilobytes:9.1f} {mmacs:8.2f} {parameters:8,} {halves.smashed.nbytes:9,}")
                contenders[name] = partial(prepare, path)
            compare(contenders)


if __name__ == "__main__":
    main()
