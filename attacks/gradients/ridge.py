"""The linear map from a gradient to the samples, fitted on gradients of the attacker's own samples.

The least of the learned inversions: one linear solve where R. Wu, X. Chen, C. Guo, K. Q. Weinberger, "Learning to
Invert: Simple Adaptive Attacks for Gradient Inversion in Federated Learning", UAI 2023, train a network (`lti`). It
runs first: what it finds is there without any optimization.

One sample. Beside the gradient itself, the map takes the ratio of the last layer's gradients, ``dW_c / db_c`` for the
class c with the least ``db_c``: these are the activations that the last layer saw, whatever the answer was.

A batch of several. A gradient is the mean over the samples, so that it tells of single ones only what sets them apart,
and that is their class: row c of the last layer's gradient is made of the activations of the samples of class c, and of
a share of the others that is small or even. One map for all classes takes such a row, over the number of samples of the
class, to the mean of the samples of the class. So it gives a sample where its class occurs once in the batch, and a
mean of samples where the class occurs more often; the rest of the gradient is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.labels import LastLayer, by_class, check_way, labels_of, last_layer, of_each
from cutlayer.attacks.gradients.learned import Scale, examples, flat, for_each_kind
from cutlayer.attacks.gradients.update import as_gradient, in_range
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.options import Count, Size

PENALTIES = torch.logspace(-5, 1, 13, dtype=torch.float64)
"""Penalties tried; the kernel of each part has 1 on its diagonal in the mean."""
PROBED = 128
"""Numbers of an input by which the penalty is chosen."""
Fit = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""A gradient, and labels ``(B,)``, to ``(B, input.size)``."""


@dataclass(kw_only=True)
class GradientRidge(UpdateAttack):
    """Invert by the linear map that fits gradients of the attacker's own samples best.

    Args:
        n: Gradients to learn from; the time grows with them, and with their cube.
        numbers: Numbers of a gradient at most; a longer one is hashed to so many.
        labels: How the labels of a batch of several are found, one of `cutlayer.attacks.gradients.labels.LABELS`.
    """

    plain_words = "a linear formula fitted on gradients of the attacker's own samples"

    n: Count = 1500
    numbers: Size = 32_768
    labels: str = "counts-by-class"

    def __post_init__(self) -> None:
        check_way(self.labels)

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base."""
        found = []
        fits = for_each_kind(observations, lambda like: self._fit(view, like))
        for (fit, observation), (one, _) in zip(fits, of_each(view, observations), strict=True):
            gradient = as_gradient(observation)
            labels = None if observation.samples == 1 else labels_of(self.labels, observation, one)
            inputs = fit(gradient, torch.zeros(1, dtype=torch.int64) if labels is None else labels)
            found.append(Recovered(in_range(inputs.reshape(-1, *view.input.shape), view.input), labels))
        return found

    def _fit(self, view: UpdateView, like: Observation) -> Fit:
        return self._fit_to_one(view, like) if like.samples == 1 else self._fit_to_classes(view, like)

    def _fit_to_one(self, view: UpdateView, like: Observation) -> Fit:
        def described(gradient: Mapping[str, Tensor]) -> Tensor:
            return torch.cat([_activations(last_layer(like, view.classes, gradient)), flat(gradient, self.numbers)])

        pairs = examples(view, like, self.n, described)
        width = last_layer(like, view.classes, like.update).weight.shape[1]
        dual = Dual([pairs.gradients[:, width:], pairs.gradients[:, :width]], pairs.inputs.flatten(1), pairs.n_fit)

        def fit(gradient: Mapping[str, Tensor], labels: Tensor) -> Tensor:
            row = described(gradient)[None]
            return dual([row[:, width:], row[:, :width]])

        return fit

    def _fit_to_classes(self, view: UpdateView, like: Observation) -> Fit:
        pairs = examples(view, like, self.n, lambda g: last_layer(like, view.classes, g).weight.float().cpu())
        usual = by_class(torch.from_numpy(view.auxiliary.inputs), view).flatten(1)
        counts = functional.one_hot(pairs.labels, view.classes).sum(1)
        of, classes = counts.nonzero().T
        times = counts[of, classes][:, None]
        which = (pairs.labels[of] == classes[:, None]).float()[:, None]
        means = (which @ pairs.inputs.flatten(2)[of])[:, 0] / times
        kept = torch.cat([(of < pairs.n_fit).nonzero()[:, 0][: 2 * self.n], (of >= pairs.n_fit).nonzero()[:, 0]])
        dual = Dual(
            [(pairs.gradients[of, classes] / times)[kept], functional.one_hot(classes, view.classes).float()[kept]],
            (means - usual[classes])[kept], int((of[kept] < pairs.n_fit).sum()),
        )  # fmt: skip

        def fit(gradient: Mapping[str, Tensor], labels: Tensor) -> Tensor:
            times = torch.bincount(labels, minlength=view.classes)[labels][:, None]
            rows = last_layer(like, view.classes, gradient).weight.float().cpu()[labels] / times
            return usual[labels] + dual([rows, functional.one_hot(labels, view.classes).float()])

        return fit


def _activations(last: LastLayer) -> Tensor:
    """What the last layer took for one sample, ``(features,)``, whatever the model answered."""
    answers = last.weight.sum(1) if last.bias is None else last.bias
    c = int(answers.argmin())
    # Without a bias the scale is lost, and the direction is left.
    size = last.weight[c].norm() if last.bias is None else last.bias[c]
    return (last.weight[c] / (size if size else 1)).float().cpu()


class Dual:
    """Ridge regression in its dual form: one system of as many equations as there are pairs.

    It is tried with the first part of what describes a pair alone, and with all parts, each of the same weight.

    Args:
        parts: ``(N, D)`` each.
        targets: ``(N, P)``.
        n_fit: Settings are chosen by the pairs from this one on; afterwards all pairs are used.
    """

    def __init__(self, parts: Sequence[Tensor], targets: Tensor, n_fit: int) -> None:
        self._scales, self._mean = [Scale(part) for part in parts], targets.mean(0)
        rows = [scale(part) for scale, part in zip(self._scales, parts, strict=True)]
        self._factors = [1 / float(part.square().sum(1).mean().clamp(min=1e-30)) for part in rows]
        wanted = (targets - self._mean).double()
        probe = wanted[:, torch.linspace(0, wanted.shape[1] - 1, min(PROBED, wanted.shape[1])).long()]
        kernels = [(part @ part.T).double() * factor for part, factor in zip(rows, self._factors, strict=True)]
        least, used, penalty = torch.inf, 1, float(PENALTIES[-1])
        for n in {1, len(parts)}:
            kernel = torch.stack(kernels[:n]).sum(0)
            for tried in PENALTIES.tolist():
                if (error := _error(kernel, probe, n_fit, tried)) < least:
                    least, used, penalty = error, n, tried
        self._rows = rows[:used]
        self._solution = _solved(torch.stack(kernels[:used]).sum(0), wanted, penalty).float()

    def __call__(self, parts: Sequence[Tensor]) -> Tensor:
        """``(N, D)`` each -> ``(N, P)``."""
        kernel = torch.zeros(())
        for part, scale, rows, factor in zip(parts, self._scales, self._rows, self._factors, strict=False):
            kernel = kernel + scale(part) @ rows.T * factor
        return self._mean + kernel @ self._solution


def _error(kernel: Tensor, wanted: Tensor, n_fit: int, penalty: float) -> float:
    """The mean squared error on the pairs that are held out; infinite where rounding has left the system indefinite."""
    solution = _solved(kernel[:n_fit, :n_fit], wanted[:n_fit], penalty)
    error = float((kernel[n_fit:, :n_fit] @ solution - wanted[n_fit:]).square().mean())
    return error if error == error else torch.inf


def _solved(kernel: Tensor, targets: Tensor, penalty: float) -> Tensor:
    penalized = kernel.clone()
    penalized.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(penalized)
    if failed:
        return torch.full((len(kernel), targets.shape[1]), torch.nan, dtype=kernel.dtype)
    return torch.cholesky_solve(targets, factor)
