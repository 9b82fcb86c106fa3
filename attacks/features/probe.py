"""A probe: what smashed data tells of an input beside its picture. It rebuilds nothing.

A function of what arrives is fitted on the attacker's own images, of which the attacker knows what it looks for: the
class, an attribute, the person. The attacker queries the device's own pipeline with them, so that the probe is fitted
to what a defense lets pass, with fresh noise. Where the attacker holds the tail, its answer (the log-probabilities of
the classes) belongs to the numbers that a probe looks at: so what the answer alone tells is a part of each probe.

- ``linear`` is logistic regression (G. Alain, Y. Bengio, "Understanding intermediate layers using linear classifier
  probes", 2016, https://arxiv.org/abs/1610.01644) with an L2 penalty that is chosen on held-out images.
- ``mlp`` adds to it a network with one hidden layer, whose epoch is chosen on the same images; epoch 0 is ``linear``.

To verify whether two inputs show the same person, an embedding is fitted on the attacker's own people: the covariance
within a person is whitened (within-class covariance normalization, A. Hatch et al., Interspeech 2006), and the cosine
of two inputs is compared.

Threat model: an honest-but-curious server with black-box access to the head, and auxiliary images with what is probed.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from cutlayer.attacks.queries import release, surely_less
from cutlayer.attacks.view import SMASHED, Access, View
from cutlayer.errors import WithheldError
from cutlayer.metrics.detection import Curve

NETWORKS = ("linear", "mlp")
HELD_OUT = 0.25
"""Share of the images by which the settings are chosen."""
DIRECTIONS = 512
"""Principal directions that are kept of smashed data with more numbers than that."""
PENALTIES = 10.0 ** np.arange(-4, 3)
"""Inverse strengths of the L2 penalty, from the strongest penalty on."""
HIDDEN, BATCH, EPOCHS, PATIENCE = 256, 128, 60, 8
SHRINKAGES = (0.02, 0.1, 0.3, 1.0)
"""Shares of the plain identity in the covariance within a person; with 1 nothing is whitened."""
_FLOOR = -30.0
"""Log-probability of a class that the attacker has no image of."""

Numbers = NDArray[np.float32]


@dataclass(kw_only=True)
class Probe:
    """Infer a property of an input from its smashed data.

    Args:
        network: ``linear`` or ``mlp``.
        n_releases: Releases of one input that are averaged.
        images: Auxiliary images that are used, at most.
        answer_only: Look at nothing but the tail's answer: the baseline of what the server knows anyway. Without the
            tail, it knows how frequent each class is.
    """

    needs: ClassVar[Access] = Access.BLACK_BOX
    sees: ClassVar[str] = SMASHED

    network: str = "linear"
    n_releases: int = 1
    images: int = 5000
    answer_only: bool = False

    def fit(self, view: View, truth: NDArray[np.int64], classes: int) -> None:
        """Fit to a property of the auxiliary images.

        Args:
            view: What the attacker may touch.
            truth: The property of each auxiliary image, ``(N,)``, 0 to `classes` - 1.
            classes: Number of the values that it can have.
        """
        numbers, truth, learned = self._own(view, truth)
        self._classes, self._network = classes, None
        self._model, penalty = _logistic(numbers, truth, learned)
        if self.network == "mlp" and not self.answer_only and self._model is not None:
            # The network corrects a regression that has not seen the held-out images, as this one has not the victims'.
            part = _fitted(_regression(penalty), numbers[learned], truth[learned])
            logits = torch.from_numpy(_log_probabilities(part, numbers, classes))
            network, held = _network(numbers, truth, logits, learned, ~learned, view.seed), ~learned
            if network is not None and _surely_corrects(network, numbers[held], logits[held], truth[held]):
                self._network = network

    def infer(self, releases: Tensor) -> Numbers:
        """Log-probabilities of the values of the property, up to a constant, ``(N, classes)``.

        Args:
            releases: ``(n_releases, N, *smashed.shape)``.
        """
        numbers = self._numbers(self._seen(releases))
        logits = _log_probabilities(self._model, numbers, self._classes)
        if self._network is None:
            return logits
        with torch.inference_mode():
            corrected: Tensor = torch.from_numpy(logits) + self._network(torch.from_numpy(numbers))
        return corrected.log_softmax(1).numpy()

    def fit_embedding(self, view: View, groups: NDArray[np.int64]) -> None:
        """Fit an embedding in which inputs of one group are near; `groups` are those of the auxiliary images."""
        numbers, groups, learned = self._own(view, groups)
        networks: list[nn.Sequential | None] = [None]
        if self.network == "mlp" and not self.answer_only:
            known, unit = np.unique(groups, return_inverse=True)
            # A part of the images of the groups that are learned from says when to stop.
            stop = learned & (np.random.default_rng(view.seed).random(len(groups)) < HELD_OUT)
            networks.append(
                _network(numbers, unit, torch.zeros(len(unit), len(known)), learned & ~stop, stop, view.seed)
            )
        first, second = pairs_of(groups[~learned], view.seed)
        same = groups[~learned][first] == groups[~learned][second]
        best = -1.0
        for network in dict.fromkeys(networks):
            points = _embedded(network, numbers)
            for shrinkage in SHRINKAGES:
                whiten = _whitening(points[learned], groups[learned], shrinkage)
                held = _directed(points[~learned], whiten)
                curve = Curve((held[first] * held[second]).sum(1), same)
                value = float(np.nan_to_num(curve.auc(np.ones((1, len(same)), np.float32)))[0])
                if value > best:
                    best, self._network, self._whiten = value, network, whiten

    def embed(self, releases: Tensor) -> Numbers:
        """Vectors of length 1, ``(N, E)``: the greater the product of two, the more likely one group."""
        return _directed(_embedded(self._network, self._numbers(self._seen(releases))), self._whiten)

    def _own(self, view: View, truth: NDArray[np.int64]) -> tuple[Numbers, NDArray[np.int64], NDArray[np.bool_]]:
        """The numbers of the auxiliary images, what is known of them, and which of them are learned from."""
        self._view = view
        order = np.random.default_rng(view.seed).permutation(len(view.auxiliary))[: self.images]
        own = view.auxiliary.at(order)
        images, learned = torch.from_numpy(own.inputs), ~own.held_out(max(1, int(HELD_OUT * len(own))))
        seen = self._seen(release(view.query, images) for _ in range(self.n_releases))
        self._parts = [_Directions(part, view.seed) for part in seen]
        return self._numbers(seen), truth[order], learned

    def _seen(self, releases: Tensor | Iterable[Tensor]) -> list[Numbers]:
        """The means over releases: of the smashed data, ``(N, D)``, and of the tail's answers, ``(N, classes)``."""
        sums: list[Tensor] = []
        for n, arrived in enumerate(releases):
            logs = answer(self._view, arrived)
            smashed = None if self.answer_only else arrived.float().flatten(1).cpu()
            known = [part for part in (smashed, logs) if part is not None] or [torch.zeros(len(arrived), 1)]
            sums = [total + part for total, part in zip(sums, known, strict=True)] if n else known
        return [(total / self.n_releases).numpy() for total in sums]

    def _numbers(self, seen: list[Numbers]) -> Numbers:
        return np.concatenate([part(values) for part, values in zip(self._parts, seen, strict=True)], 1)


class _Directions:
    """Standardized numbers, or the principal directions of very many: ``(N, D)`` to at most `DIRECTIONS` columns."""

    def __init__(self, values: Numbers, seed: int) -> None:
        self._mean, spread = values.mean(0), values.std(0)
        # A number that never changes has no weight.
        least = 1e-6 * max(float(spread.max()), float(np.abs(self._mean).max()), 1e-30)
        self._scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > least)
        self._basis: Numbers | None = None
        kept = min(DIRECTIONS, len(values) - 1)
        if values.shape[1] > kept:
            from sklearn.decomposition import PCA

            standardized = self(values)
            found = PCA(kept, svd_solver="randomized", iterated_power=2, random_state=seed).fit(standardized)
            size = max(float(found.explained_variance_.mean()), 1e-30) ** 0.5
            self._basis = (found.components_.T / size).astype(np.float32)

    def __call__(self, values: Numbers) -> Numbers:
        standardized: Numbers = (values - self._mean) * self._scale
        return standardized if self._basis is None else standardized @ self._basis


def answer(view: View, smashed: Tensor) -> Tensor | None:
    """The log-probabilities that the tail answers, ``(N, classes)`` on the CPU; None where the view has no tail."""
    try:
        tail = view.tail
    except WithheldError:
        return None
    with torch.inference_mode():
        parts = [tail(part.to(view.device)).float().log_softmax(1).cpu() for part in smashed.split(256)]
    return torch.cat(parts)


def pairs_of(groups: NDArray[np.integer], seed: int, most: int = 100_000) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of inputs, the position of the first and of the second of each: all of one group, and others.

    Args:
        groups: ``(N,)``.
        seed: Decides which pairs of two groups are left out.
        most: Pairs of two groups, at most.
    """
    first, second = np.triu_indices(len(groups), 1)
    same = groups[first] == groups[second]
    others = np.flatnonzero(~same)
    if len(others) > most:
        others = np.sort(np.random.default_rng(seed).choice(others, most, replace=False))
    kept = np.concatenate([np.flatnonzero(same), others])
    return first[kept], second[kept]


def _regression(penalty: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=penalty, max_iter=200, warm_start=True)


def _fitted(model: Any, numbers: Numbers, truth: NDArray[np.int64]) -> Any:
    """The regression, fitted; one that is still moving after its steps is as good as it has to be."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(numbers, truth)


def _logistic(numbers: Numbers, truth: NDArray[np.int64], learned: NDArray[np.bool_]) -> tuple[Any, float]:
    """Logistic regression with the penalty that is best on held-out images, fitted to all; None for a single class.

    The penalty gets weaker until the error has grown twice.
    """
    if len(np.unique(truth[learned])) < 2:
        return None, 1.0
    model, best, least, grown = _regression(float(PENALTIES[0])), float(PENALTIES[0]), np.inf, 0
    for penalty in PENALTIES.tolist():
        model.C = penalty
        _fitted(model, numbers[learned], truth[learned])
        logs = _log_probabilities(model, numbers[~learned], int(truth.max()) + 1)
        loss = -float(logs[np.arange(len(logs)), truth[~learned]].mean())
        best, least, grown = (penalty, loss, 0) if loss < least else (best, least, grown + 1)
        if grown == 2:
            break
    return _fitted(_regression(best), numbers, truth), best


def _log_probabilities(model: Any, numbers: Numbers, classes: int) -> Numbers:
    """``(N, classes)``; the same for all where there is no model."""
    if model is None:
        return np.zeros((len(numbers), classes), np.float32)
    logs = np.full((len(numbers), classes), _FLOOR, np.float32)
    logits = torch.from_numpy(model.decision_function(numbers).reshape(len(numbers), -1))
    logits = torch.cat([-logits / 2, logits / 2], 1) if logits.shape[1] == 1 else logits
    logs[:, model.classes_] = logits.log_softmax(1).clamp(min=_FLOOR).numpy()
    return logs


def _network(
    numbers: Numbers, truth: NDArray[np.int64], logits: Tensor, learned: NDArray[np.bool_], stop: NDArray[np.bool_],
    seed: int,
) -> nn.Sequential | None:  # fmt: skip
    """A hidden layer that corrects logits, at its best epoch on the images by which to stop; None where none helps."""
    inputs, targets = torch.from_numpy(numbers), torch.from_numpy(truth)
    own, held = torch.from_numpy(np.flatnonzero(learned)), torch.from_numpy(stop)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        last = nn.Linear(HIDDEN, logits.shape[1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        network = nn.Sequential(
            nn.BatchNorm1d(inputs.shape[1], affine=False), nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(),
            nn.Dropout(0.3), last,
        )  # fmt: skip
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
        least, best, since = float(cross_entropy(logits[held], targets[held])), None, 0
        for _ in range(EPOCHS):
            for batch in own[torch.randperm(len(own))].split(BATCH):
                if len(batch) < 2:
                    continue
                loss = cross_entropy(logits[batch] + network(inputs[batch]), targets[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            network.eval()
            with torch.no_grad():
                error = float(cross_entropy(logits[held] + network(inputs[held]), targets[held]))
            network.train()
            since += 1
            if error < least:
                least, best, since = error, copy.deepcopy(network).eval(), 0
            if since == PATIENCE:
                break
    return best


def _surely_corrects(network: nn.Module, numbers: Numbers, logits: Tensor, truth: NDArray[np.int64]) -> bool:
    """Whether it surely corrects logits on held-out images; the best of many epochs is so by chance as well."""
    with torch.inference_mode():
        tried = logits + network(torch.from_numpy(numbers)), logits
        corrected, alone = (cross_entropy(each, torch.from_numpy(truth), reduction="none") for each in tried)
    return surely_less(corrected, alone)


def _embedded(network: nn.Sequential | None, numbers: Numbers) -> Numbers:
    """The hidden layer of a network, or the numbers themselves."""
    if network is None:
        return numbers
    with torch.inference_mode():
        hidden: Numbers = network[:-1](torch.from_numpy(numbers)).numpy()
    return hidden


def _whitening(points: Numbers, groups: NDArray[np.int64], shrinkage: float) -> tuple[Numbers, Numbers]:
    """The mean, and a matrix after which the covariance within a group is about the identity."""
    _, unit = np.unique(groups, return_inverse=True)
    centers = np.zeros((int(unit.max()) + 1, points.shape[1]))
    np.add.at(centers, unit, points)
    within = points - (centers / np.bincount(unit)[:, None])[unit]
    covariance = within.T @ within / len(points)
    size = max(float(covariance.trace()) / len(covariance), 1e-12)
    values, vectors = np.linalg.eigh((1 - shrinkage) * covariance + shrinkage * size * np.eye(len(covariance)))
    matrix = vectors / np.sqrt(np.maximum(values, 1e-9 * size)) @ vectors.T
    return points.mean(0), matrix.astype(np.float32)


def _directed(points: Numbers, whiten: tuple[Numbers, Numbers]) -> Numbers:
    """The directions in which whitened points lie from the mean, vectors of length 1."""
    vectors: Numbers = normalize(torch.from_numpy((points - whiten[0]) @ whiten[1]), dim=1).numpy()
    return vectors
