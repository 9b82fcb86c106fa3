"""How often the answers before and after a deletion tell the class of the samples that a model was made to forget.

python benchmarks/unlearning.py --data mnist --data-root DIR

The model forgets by training again, from the same seed, without the samples: forgetting that leaves no trace in the
weights. The attacker has the auxiliary part, and names one class (`cutlayer.attacks.answers.unlearned`). Guessing is
right in one of as many times as there are classes.
"""

from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from cutlayer import training
from cutlayer.attacks.answers.unlearned import confidence_lost
from cutlayer.attacks.answers.view import Service
from cutlayer.data.load import open_data
from cutlayer.data.splits import Dataset
from cutlayer.metrics.interval import exact_proportion
from cutlayer.models import zoo
from cutlayer.spec import TensorSpec

SHARES = (1.0, 0.5, 0.25, 0.1)


def main(
    data: str = "digits", data_root: Path | None = None, model: str = "mlp", images: int = 2000, epochs: int = 15,
    seeds: int = 3,
) -> None:  # fmt: skip
    """Print a row for each share of a class that is forgotten.

    Args:
        data: Name of the data set.
        data_root: Folder of the data sets.
        model: Name of the model.
        images: Training samples of the model, and samples of the attacker, at most.
        epochs: Passes of each training.
        seeds: Number of splits of the data and seeds of the training.
    """
    torch.set_num_threads(1)
    right: dict[float, list[bool]] = {share: [] for share in SHARES}
    for seed in range(seeds):
        splits = open_data(data, data_root, seed)
        (train, _), (own, _) = splits.train.loaded(images), splits.auxiliary.loaded(images)
        probes, classes = torch.from_numpy(own.inputs), len(splits.classes)
        before = _service(train, splits.input, classes, model, epochs, seed)
        for label in range(classes):
            of = np.flatnonzero(train.labels == label)
            for share in SHARES:
                rest = train.at(np.setdiff1d(np.arange(len(train)), of[: round(share * len(of))]))
                after = _service(rest, splits.input, classes, model, epochs, seed)
                right[share].append(int(confidence_lost(before, after, probes).argmax()) == label)
    print(f"{data}, {model}, {images:,} training samples at most, {seeds} seeds; share of classes named rightly")
    for share, each in right.items():
        found = exact_proportion(sum(each), len(each))
        print(f"{share:6.0%} of a class forgotten: {found.value:.2f} [{found.low:.2f}, {found.high:.2f}], n {found.n}")


def _service(train: Dataset, input: TensorSpec, classes: int, model: str, epochs: int, seed: int) -> Service:
    network = zoo.build(model, input, classes, seed)
    training.train(network, train, epochs=epochs, seed=seed)

    def ask(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return network(inputs).log_softmax(1)  # type: ignore[no-any-return]

    return Service(ask)


if __name__ == "__main__":
    tyro.cli(main)
