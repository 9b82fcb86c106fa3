"""The ceiling of a published victim: ResNet-20 on CIFAR-10 behind Gaussian noise, at narrow and wide cuts.

    .venv/bin/python benchmarks/ceiling.py resnet20-12fca82f.th --data-root DATA

The weights are those of github.com/akamaster/pytorch_resnet_cifar10 (91.7 %). Noise is in standard deviations of the
smashed data (root mean square over its numbers, each around its own mean). The tail is not trained behind the noise, so
that a trained one keeps more accuracy at the same ceiling. Candidates are the first test images.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cutlayer.data.load import load
from cutlayer.defenses.shared.density import Density
from cutlayer.machine.compute import tune_allocator
from cutlayer.models.halves import SplitModel, split
from cutlayer.models.start import Start
from cutlayer.models.zoo import build
from cutlayer.privacy.ceiling import ceiling_of
from cutlayer.report.kit.columns import columns
from cutlayer.report.runs.ceilings import both, gone

CUTS = ("layer1.2", "layer2.2", "layer3.2", "avgpool")
STRENGTHS = (0.5, 1.0, 2.0, 4.0)


def accuracy(halves: SplitModel, smashed: Tensor, sigma: float, labels: Tensor, draws: int = 2) -> float:
    """The share of right answers behind fresh noise."""
    rng, right = torch.Generator().manual_seed(0), 0
    for _ in range(draws):
        for part, true in zip(smashed.split(250), labels.split(250), strict=True):
            noise = torch.randn(part.shape, generator=rng) * sigma
            right += int((halves.tail(part + noise).argmax(1) == true).sum())
    return right / (draws * len(labels))


def main() -> None:
    """Print a row for each cut and strength."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--cuts", nargs="+", default=CUTS)
    parser.add_argument("--candidates", type=int, default=1000)
    options = parser.parse_args()
    tune_allocator()
    data = load("cifar10", root=options.data_root)
    test, floor = data.test.take(options.candidates), data.auxiliary.take(5000).loaded()[0].inputs.mean(axis=0)
    images, labels = test.loaded()[0].inputs, torch.from_numpy(test.labels)
    model = build("resnet20", data.input, 10, start=Start(str(options.weights)))
    head = ["CUT", "NUMBERS", "SD", "ACCURACY", "1 RELEASE", "4", "16", "64", "GONE AFTER", "SECONDS"]
    rows = []
    with torch.inference_mode():
        for cut in options.cuts:
            halves = split(model, cut, data.input)
            smashed = torch.cat([halves.head(part) for part in torch.from_numpy(images).split(250)])
            deviation = float(smashed.var(0).mean().sqrt())
            for strength in STRENGTHS:
                start, density = time.perf_counter(), Density("gaussian", smashed.numpy(), strength * deviation)
                found = ceiling_of(density, images, floor, len(images), seed=0)
                seconds = time.perf_counter() - start
                share = accuracy(halves, smashed, strength * deviation, labels)
                cells = [cut, f"{np.prod(smashed.shape[1:]):,}", f"{strength:g}", f"{share:.1%}", *map(both, found.at)]
                rows.append([*cells, gone(found), f"{seconds:.1f}"])
    print(columns(head, rows, rule=True))
    print("Identification / leakage gain in percent: upper bounds of 95 %, each.")


if __name__ == "__main__":
    main()
