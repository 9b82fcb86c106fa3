"""What the gradients of a split training on Bank Marketing give away: labels, and answers of the party with the labels.

python benchmarks/training_labels.py --data-root DIR

The party without the labels holds the inputs, 51 columns of which each has mean 0 and deviation 1, and a head of 64 and
32 units; the other party a tail of 32 units. Adam, learning rate 0.001, batches of 256. For `exact` the party with the
label also holds three answers (default, housing, loan), which its tail takes beside the smashed data.
"""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from benchmarks.joint_step import Protect, Trained, epochs_of, hints, layers
from cutlayer.attacks.training.base import score
from cutlayer.data.bank import ATTRIBUTES, load
from cutlayer.data.load import data_root as default_root
from cutlayer.data.splits import Dataset
from cutlayer.metrics.detection import Curve
from cutlayer.registry import GRADIENT_DEFENSES, LABEL_ATTACKS

DEFENSES: tuple[tuple[str, dict[str, float]], ...] = (
    ("none", {}),
    ("iso", {"ratio": 1.0}),
    ("max-norm", {}),
    ("perpendicular", {}),
    ("marvell", {"power": 0.25}),
    ("marvell", {"power": 1.0}),
    ("marvell", {"power": 4.0}),
)
EXACT_DEFENSES: tuple[tuple[str, dict[str, float]], ...] = (
    ("none", {}),
    ("iso", {"ratio": 0.001}),
    ("iso", {"ratio": 0.01}),
    ("iso", {"ratio": 0.1}),
    ("max-norm", {}),
)
PRIVATE_COLUMNS = (20, 21, 23, 24, 25, 26)
"""Those of `ATTRIBUTES`, two for each."""


def main(data_root: Path | None = None, samples: int = 0, epochs: int = 3, seeds: int = 1) -> None:
    """Print the table of label inference, and that of EXACT with its controls.

    Args:
        data_root: Folder of the data sets.
        samples: Number of training samples; 0 for all 22,606.
        epochs: Number of epochs.
        seeds: Number of seeds, over which figures are averaged.
    """
    torch.set_num_threads(1)
    data = load(data_root or default_root(), 0)
    train, test = data.train.take(samples or None), data.test
    center, width = train.inputs.mean(0), np.maximum(train.inputs.std(0), 1e-6)
    train, auxiliary, test = (replace(d, inputs=(d.inputs - center) / width) for d in (train, data.auxiliary, test))
    print(f"Bank Marketing: {len(train):,} training samples, {train.labels.mean():.3f} positive; {len(test):,} test")
    print("AUC of norm | of direction with one known positive | of the model on test data, after each epoch")
    for name, options in DEFENSES:
        protect = GRADIENT_DEFENSES.make(name, **options).protect_cut_gradient
        rows = np.mean([_labels(train, test, protect, epochs, seed) for seed in range(seeds)], axis=0)
        text = "   ".join(" ".join(f"{value:.3f}" for value in row) for row in rows)
        print(f"  {_title(name, options):22} {text}", flush=True)
    _exact(train, auxiliary)


def _title(name: str, options: dict[str, float]) -> str:
    return " ".join([name, *(f"{key}={value:g}" for key, value in options.items())])


def _labels(train: Dataset, test: Dataset, protect: Protect, epochs: int, seed: int) -> NDArray[np.float64]:
    """AUC of norm, direction and model after each epoch, ``(epochs, 3)``."""
    head, tail = layers(train.inputs.shape[1], 64, 32, seed=seed), layers(32, 32, 2, seed=seed + 1000)
    inputs, labels = torch.from_numpy(train.inputs), torch.from_numpy(train.labels)
    rows = []
    for victim in itertools.islice(epochs_of(head, tail, inputs, labels, protect=protect, seed=seed), epochs):
        view = replace(victim.view, known=hints(victim.labels, 1, (1,)))
        found = [score(LABEL_ATTACKS.make(name), view, victim.labels).auc for name in ("norm", "direction")]
        with torch.no_grad():
            logits = tail(head(torch.from_numpy(test.inputs))).double().numpy()
        curve = Curve(logits[:, 1] - logits[:, 0], test.labels == 1)
        rows.append([*found, float(curve.auc(np.ones((1, len(test)), np.float32))[0])])
    return np.array(rows)


def _exact(train: Dataset, auxiliary: Dataset) -> None:
    """EXACT on the gradients of the first epoch, beside what needs no gradient."""
    columns = [column for column in range(train.inputs.shape[1]) if column not in PRIVATE_COLUMNS]
    assert train.attributes is not None
    assert auxiliary.attributes is not None
    public, labels = torch.from_numpy(train.inputs[:, columns]), torch.from_numpy(train.labels)
    answers = torch.from_numpy(train.attributes.astype(np.float32))
    combinations = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * len(ATTRIBUTES))
    truth = np.concatenate([train.labels[:, None], train.attributes], 1)
    known = np.concatenate([auxiliary.labels[:, None], auxiliary.attributes], 1)
    print("EXACT, first epoch: share of samples that are right for label | " + " | ".join(ATTRIBUTES) + " | all four")
    _print("most frequent value", np.tile(np.round(known.mean(0)), (len(truth), 1)), truth)
    fits = [LogisticRegression(max_iter=300).fit(auxiliary.inputs[:, columns], of) for of in known.T]
    _print("regression, no gradient", np.stack([fit.predict(train.inputs[:, columns]) for fit in fits], 1), truth)
    for name, options in EXACT_DEFENSES:
        protect = GRADIENT_DEFENSES.make(name, **options).protect_cut_gradient
        head, tail = layers(len(columns), 64, 32, seed=0), layers(32 + len(ATTRIBUTES), 32, 2, seed=1000)
        victim = next(epochs_of(head, tail, public, labels, private=answers, protect=protect))
        view, exact = replace(victim.view, _private=combinations), LABEL_ATTACKS.make("exact")
        here = truth[victim.order]
        if name == "none":
            _print("least loss, no gradient", _least_loss(victim, combinations), here)
        guess = np.column_stack([exact.infer(view).argmax(1), combinations[exact.infer_private(view)]])
        _print(f"exact, {_title(name, options)}", guess, here)


def _least_loss(victim: Trained, combinations: Tensor) -> NDArray[np.float64]:
    """The same search by the loss of each guess, in place of its gradient."""
    best = []
    for step, smashed in enumerate(victim.view.smashed):
        tail = victim.view.tail(step)
        with torch.no_grad():
            logits = torch.stack([tail(torch.cat([smashed, c.expand(len(smashed), -1)], 1)) for c in combinations], 1)
        best.append(functional.log_softmax(logits, 2).flatten(1).argmax(1))
    chosen = torch.cat(best)
    return np.column_stack([chosen % 2, combinations[chosen // 2]])


def _print(title: str, guess: NDArray[np.floating], truth: NDArray[np.integer]) -> None:
    right = guess == truth
    print(f"  {title:26} " + " ".join(f"{share:.3f}" for share in [*right.mean(0), right.all(1).mean()]), flush=True)


if __name__ == "__main__":
    tyro.cli(main)
