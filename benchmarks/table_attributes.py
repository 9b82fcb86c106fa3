"""What a model trained on Bank Marketing tells of a client's sensitive answer, with and without defenses of tables.

python benchmarks/table_attributes.py --data-root DIR

The model is a decision tree on 51 columns, `duration` among them. The attacker asks it about clients that it was
trained on, knows their rows but for one answer, their class, and what the model said of them; it holds the auxiliary
part. The floor is what it infers without the model. A defense that costs accuracy is to be compared with an undefended
tree of so few levels that it is as accurate.

Below, the models are fully connected networks, which answer through a service that counts, and the figure is how often
the answer is found, above the floor (`cutlayer.privacy.attributes`).
"""

from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor, nn

from cutlayer import training
from cutlayer.attacks.answers.attributes import imputed, inferred
from cutlayer.attacks.answers.view import Service
from cutlayer.attacks.gradients.scoring import features
from cutlayer.data.bank import load
from cutlayer.data.load import data_root as default_root
from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.tables.guided_tree import GuidedTree
from cutlayer.defenses.tables.release import statistics, synthesized
from cutlayer.metrics.detection import Curve
from cutlayer.models import zoo
from cutlayer.privacy.attributes import attribute_score

COLUMNS = {"default": (20, 21), "housing": (23, 24), "loan": (25, 26)}
"""The numbers of no and yes of each sensitive answer."""
DEPTH = 8
EPOCHS = (5, 60)
"""Passes in which a network is trained: until it knows its clients as well as others, and better."""


def main(data_root: Path | None = None, clients: int = 10_000, seeds: int = 2, attribute: str = "housing") -> None:
    """Print a row for each model.

    Args:
        data_root: Folder of the data sets.
        clients: Number of training clients that are asked about.
        seeds: Number of splits of the data, over which figures are averaged.
        attribute: The sensitive answer: default, housing or loan.
    """
    torch.set_num_threads(1)
    rows: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(seeds):
        for name, figures in _seed(load(data_root or default_root(), seed), clients, seed, COLUMNS[attribute]):
            rows.setdefault(name, []).append(figures)
    print(f"Bank Marketing, {attribute}, {clients:,} training clients, mean of {seeds} seeds; AUC of the inference")
    print(f"{'model':34} accuracy  AUC of model | floor  seen answer  class only | answers that differ")
    for name, each in rows.items():
        print(f"{name:34} " + "  ".join(f"{value:.3f}" for value in np.mean(each, axis=0)), flush=True)
    print("\nseed epochs accuracy in training, test | seen     majority  floor  found  gain [95 % interval]")
    for seed in range(seeds):
        _networks(load(data_root or default_root(), seed), clients, seed, attribute)


def _networks(data: Splits, clients: int, seed: int, attribute: str) -> None:
    """Print a row for each network, and for what is seen of it."""
    for epochs in EPOCHS:
        network = zoo.build("mlp", data.input, len(data.classes), seed)
        training.train(network, data.train, epochs=epochs, seed=seed, batch=128)
        shares = [right / n for right, n in (training.accuracy(network, part) for part in (data.train, data.test))]

        def ask(rows: Tensor, network: nn.Module = network) -> Tensor:
            with torch.no_grad():
                return network(rows).log_softmax(1)  # type: ignore[no-any-return]

        for overheard in (True, False):
            found = attribute_score(Service(ask), data, attribute, n=clients, overheard=overheard, seed=seed)
            gain = found.gain
            print(
                f"{seed:4} {epochs:6} {shares[0]:20.3f}, {shares[1]:.3f}  | {'answer' if overheard else 'nothing':7} "
                f"{found.majority:9.3f} {found.imputation.value:6.3f} {found.accuracy.value:6.3f}  {gain.value:+.3f} "
                f"[{gain.low:+.3f}, {gain.high:+.3f}]",
                flush=True,
            )


def _seed(data: Splits, clients: int, seed: int, columns: tuple[int, int]) -> list[tuple[str, tuple[float, ...]]]:
    train, test, asked = data.train, data.test, data.train.take(clients)
    rng = np.random.default_rng(seed)
    prior = imputed(data.auxiliary.inputs, data.auxiliary.labels, asked.inputs, asked.labels, columns, seed)
    parts = features(train.inputs)
    sensitive = next(part for part in parts if part.start == columns[0])

    def figures(tree: GuidedTree) -> tuple[float, ...]:
        return _figures(tree, test, asked, prior, columns)

    trees = {
        f"tree of {depth} levels": GuidedTree(depth=depth).fit(train.inputs, train.labels) for depth in range(1, 9)
    }
    found = [(name, figures(tree)) for name, tree in trees.items()]
    for guard in (0.5, 0.9, 0.99, 1.0):
        tree = GuidedTree(sensitive=columns, guard=guard, depth=DEPTH).fit(train.inputs, train.labels)
        found.append((f"guided, guard {guard:g}", figures(tree)))
    for epsilon in (0.0, 10.0, 1.0):
        made = statistics(train.inputs, train.labels, parts, len(train), rng, epsilon)
        title = f"statistics, epsilon {epsilon:g}" if epsilon else "statistics without noise"
        found.append((title, figures(GuidedTree(depth=DEPTH).fit(*made))))
    for swapped in (0.0, 0.5, 1.0):
        made = synthesized(train.inputs, train.labels, parts, len(train), rng, sensitive, swapped)
        found.append((f"synthetic rows, {swapped:g} swapped", figures(GuidedTree(depth=DEPTH).fit(*made))))
    return found


def _figures(
    tree: GuidedTree, test: Dataset, asked: Dataset, prior: NDArray[np.float64], columns: tuple[int, int]
) -> tuple[float, ...]:
    said = tree.answers(test.inputs)
    accuracy = float((said.argmax(1) == test.labels).mean())
    yes, observed = asked.inputs[:, columns[1]] > 0.5, tree.answers(asked.inputs)
    scores = [prior] + [
        inferred(tree.answers, asked.inputs, asked.labels, columns, prior, seen) for seen in (observed, None)
    ]
    flipped = asked.inputs.copy()
    flipped[:, list(columns)] = 1 - flipped[:, list(columns)]
    differ = float((tree.answers(flipped) != observed).any(1).mean())
    return accuracy, _auc(said[:, 1], test.labels == 1), *(_auc(score, yes) for score in scores), differ


def _auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    return float(Curve(scores, positive).auc(np.ones((1, len(scores)), np.float32))[0])


if __name__ == "__main__":
    tyro.cli(main)
