"""Which classes the samples of an update have, from the gradient of the model's last layer.

The last layer gives the logits, ``z = W a + b``. For a batch of B samples with softmax p and labels y, the gradient of
the mean cross-entropy is ``db = mean(p - y)`` and ``dW = mean((p - y) a)``: a class that occurs pulls its row down.

Each function takes an update and a view, and returns the labels of its samples, ``(B,)`` int64 in ascending order; the
samples themselves have no order. `LABELS` has them by name. A view holds the labels of all updates; `of_each` makes
views of one update each, which is what `known` needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.attacks.gradients.update import as_gradient, scaled_gradient
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.errors import ConfigError, near

RANDOM, OWN, BATCH = 1000, 2000, 512
"""Random inputs, samples of the attacker's own at most, and samples in a pass through the model."""
POPULATION, GENERATIONS = 20, 200
SCALES = tuple(np.geomspace(1, 1e4, 49).tolist())
"""What a gradient whose scale is unknown is tried to be multiplied by."""


class LastLayer(NamedTuple):
    """The last layer of a model, and the gradient of it.

    Attributes:
        layer: The layer.
        weight: ``(classes, features)``: the gradient of its weights.
        bias: ``(classes,)``: the gradient of its biases; None where it has none.
    """

    layer: nn.Linear
    weight: Tensor
    bias: Tensor | None


def of_each(view: UpdateView, observations: Sequence[Observation]) -> Iterator[tuple[UpdateView, Observation]]:
    """Each update with a view that holds the labels of this one alone, if any."""
    if view.knows_labels and len(view.labels) != len(observations):
        raise ConfigError(f"The view has labels of {len(view.labels)} updates, and there are {len(observations)}.")
    for k, observation in enumerate(observations):
        yield (replace(view, _labels=view.labels[k : k + 1]) if view.knows_labels else view), observation


def labels_of(name: str, observation: Observation, view: UpdateView) -> Tensor:
    """The labels that the named way finds.

    Raises:
        ConfigError: There is no such way, or it cannot be taken with this update.
    """
    check_way(name)
    return LABELS[name](observation, view)


def check_way(name: str) -> None:
    """Refuse a name that no way to the labels has. Raises ConfigError."""
    if name not in LABELS:
        raise ConfigError(f"There is no way to the labels named {name!r:.80}; {near(name, LABELS)}")


def last_layer(observation: Observation, classes: int, gradient: Mapping[str, Tensor]) -> LastLayer:
    """The fully connected layer that gives the logits.

    Raises:
        ConfigError: The model has none.
    """
    linear = [(name, layer) for name, layer in observation.model.named_modules() if isinstance(layer, nn.Linear)]
    if not linear or linear[-1][1].out_features != classes:
        raise ConfigError(f"The labels are read from a fully connected last layer with {classes} rows; there is none.")
    name, layer = linear[-1]
    at = f"{name}." if name else ""
    return LastLayer(layer, gradient[f"{at}weight"], gradient[f"{at}bias"] if layer.bias is not None else None)


def by_class(values: Tensor, view: UpdateView) -> Tensor:
    """The mean of rows of each class, ``(classes, ...)``; of all rows for a class that the attacker has none of.

    Args:
        values: A row for each of the attacker's own samples, or of the first of them.
        view: What the attacker may touch.
    """
    labels = torch.from_numpy(view.auxiliary.labels[: len(values)]).to(values.device)
    found = [values[labels == c] for c in range(view.classes)]
    return torch.stack([(rows if len(rows) else values).mean(0) for rows in found])


def known(observation: Observation, view: UpdateView) -> Tensor:
    """The labels that the view grants, for comparison."""
    if len(view.labels) != 1 or len(view.labels[0]) != observation.samples:
        raise ConfigError("The view must hold the labels of this one update; see `of_each`.")
    return view.labels[0].sort().values


def idlg(observation: Observation, view: UpdateView) -> Tensor:
    """The class whose row of weights has the least sum, for one sample.

    B. Zhao, K. R. Mopuri, H. Bilen, "iDLG: Improved Deep Leakage from Gradients", https://arxiv.org/abs/2001.02610.
    """
    if observation.samples != 1:
        raise ConfigError(f"idlg finds the label of one sample; the update is from {observation.samples}.")
    return last_layer(observation, view.classes, as_gradient(observation)).weight.sum(1).argmin()[None].cpu()


def negative(observation: Observation, view: UpdateView) -> Tensor:
    """The classes with the least gradients of the bias, which are negative where a class occurs; none occurs twice."""
    _check_unique("negative", observation, view)
    _, weight, bias = last_layer(observation, view.classes, as_gradient(observation))
    return _least(weight.sum(1) if bias is None else bias, observation.samples)


def yin(observation: Observation, view: UpdateView) -> Tensor:
    """The classes whose rows hold the least numbers; none occurs twice.

    H. Yin, A. Mallya, A. Vahdat, J. M. Alvarez, J. Kautz, P. Molchanov, "See through Gradients: Image Batch Recovery
    via GradInversion", CVPR 2021, https://arxiv.org/abs/2104.07586, equation 5.
    """
    _check_unique("yin", observation, view)
    weight = last_layer(observation, view.classes, as_gradient(observation)).weight
    return _least(weight.min(1).values, observation.samples)


def wainakh(observation: Observation, view: UpdateView) -> Tensor:
    """Take classes one by one, and subtract from the row of each the mean share of one sample.

    A. Wainakh, F. Ventola, T. Müßig, J. Keim, C. Garcia Cordero, E. Zimmer, T. Grube, K. Kersting, M. Mühlhäuser,
    "User-Level Label Leakage from Gradients in Federated Learning" (LLG), PoPETs 2022,
    https://arxiv.org/abs/2105.09369, algorithm 1 with the impact that the gradient alone tells.
    """
    rows = last_layer(observation, view.classes, scaled_gradient(observation, "wainakh")).weight.double().sum(1)
    n = observation.samples
    impact = float(rows[rows < 0].sum()) * (1 + 1 / view.classes) / n
    counts = torch.zeros_like(rows)
    # Each class with a negative row occurs at least once; then the least row is always the next one.
    order = [int(c) for c in rows.argsort() if rows[c] < 0][:n]
    while len(order) or counts.sum() < n:
        c = order.pop(0) if order else int(rows.argmin())
        counts[c] += 1
        rows[c] -= impact
    return _listed(counts)


def counts(observation: Observation, view: UpdateView) -> Tensor:
    """The number of samples of each class, from the bias and the mean softmax of other inputs: B * (mean(p) - db).

    J. Geng, Y. Mou, Q. Li, F. Li, O. Beyan, S. Decker, C. Rong, "Improved Gradient Inversion Attacks and Defenses in
    Federated Learning", IEEE Transactions on Big Data 2023, https://arxiv.org/abs/2110.09074, §4. The batch's own
    softmax is not known; that of the attacker's samples takes its place, or of random inputs where there are none.

    Differs from the paper: where the clients have a defense that changes updates, as clipping does, their scale is
    unknown, and the one is taken whose counts explain the direction of the bias best.
    """
    bias, n = _with_bias("counts", observation, view), observation.samples
    logits, _ = _answers(observation, view)
    expected = logits.double().softmax(1).mean(0)
    return _at_best_scale(
        bias, view, lambda db: _rounded(n * (expected - db), n), lambda of: expected - _shares(of, view.classes)
    )


def counts_without_bias(observation: Observation, view: UpdateView) -> Tensor:
    """The number of samples of each class, from the weights alone: the sum of a row, over the mean sum of activations.

    M. Vero, M. Balunović, D. I. Dimitrov, M. Vechev, "TabLeak: Tabular Data Leakage in Federated Learning", ICML 2023,
    https://arxiv.org/abs/2210.01785, after Geng et al., for models whose last layer has no bias.
    """
    weight = last_layer(observation, view.classes, scaled_gradient(observation, "counts-without-bias")).weight.double()
    logits, activations = _answers(observation, view)
    scale = activations.double().sum(1).mean()
    if not scale.abs() > 0:
        raise ConfigError("The last activations are all zero, so that the weights of the last layer tell no labels.")
    return _rounded(
        observation.samples * (logits.double().softmax(1).mean(0) - weight.sum(1) / scale), observation.samples
    )


def counts_by_class(observation: Observation, view: UpdateView) -> Tensor:
    """The number of samples of each class that explains the bias best, with the mean softmax of each class.

    ``B db = (P - I) n``, where column c of P is the mean softmax of the attacker's own samples of class c. On an
    untrained model all columns are equal, and the answer is that of `counts`; a trained model answers each class in its
    own way, which `counts` takes no account of. An unknown scale is found as in `counts`.
    """
    bias = _with_bias("counts-by-class", observation, view)
    logits, _ = _answers(observation, view)
    means = by_class(logits.double().softmax(1), view)
    system = means.T - torch.eye(view.classes, dtype=torch.float64, device=means.device)
    # The number of samples is known, and weighs more than any class.
    rows, n = torch.cat([system, torch.full_like(system[:1], 100)]), observation.samples

    def solved(db: Tensor) -> Tensor:
        target = torch.cat([db, db.new_tensor([100])]) * n
        return _rounded(torch.linalg.lstsq(rows, target[:, None]).solution[:, 0], n)

    return _at_best_scale(bias, view, solved, lambda of: system @ _shares(of, view.classes))


def evolutionary(observation: Observation, view: UpdateView) -> Tensor:
    """Search by mutation and selection for the labels whose mean gradients of the last layer are nearest to it.

    Z. Ye, W. Luo, Q. Zhou, Y. Tang, "High-Fidelity Gradient Inversion in Distributed Learning"
    (HF-GradInv), AAAI 2024, with its 20 candidates and 200 generations.

    Differs from the paper: the gradients of each class are those of the attacker's own samples in the broadcast model,
    and not of features of a network that was trained before.
    """
    _, weight, bias = last_layer(observation, view.classes, scaled_gradient(observation, "evolutionary"))
    wanted = (weight if bias is None else torch.cat([weight, bias[:, None]], 1)).double().flatten()
    logits, activations = _answers(observation, view)
    labels = torch.from_numpy(view.auxiliary.labels[: len(logits)])
    error = logits.softmax(1).index_put(
        (torch.arange(len(labels), device=logits.device), labels.to(logits.device)), torch.tensor(-1.0), accumulate=True
    )
    if bias is not None:
        activations = torch.cat([activations, torch.ones_like(activations[:, :1])], 1)
    present = [c for c in range(view.classes) if (labels == c).any()]
    each = torch.stack([error[labels == c].T @ activations[labels == c] / (labels == c).sum() for c in present])
    gains = (each.double().flatten(1) @ wanted).cpu().numpy()
    products = (each.double().flatten(1) @ each.double().flatten(1).T).cpu().numpy()
    rng, n = np.random.default_rng([view.seed, 3]), observation.samples

    def misfit(candidates: NDArray[np.int64]) -> NDArray[np.float64]:
        """The squared distance to the gradient for each candidate ``(n,)``, up to a constant."""
        shares = np.stack([(candidates == k).mean(1) for k in range(len(present))], 1)
        distances: NDArray[np.float64] = ((shares @ products) * shares).sum(1) - 2 * shares @ gains
        return distances

    population = rng.integers(len(present), size=(POPULATION, n))
    for _ in range(GENERATIONS):
        partners = population[rng.permutation(POPULATION)]
        children = np.where(rng.random((POPULATION, n)) < 0.5, population, partners)
        mutated = rng.random(children.shape) < 1 / n
        children = np.where(mutated, rng.integers(len(present), size=children.shape), children)
        everyone = np.concatenate([population, children])
        population = everyone[np.argsort(misfit(everyone), kind="stable")[:POPULATION]]
    return torch.tensor(present)[torch.from_numpy(population[0])].sort().values


LABELS: Mapping[str, Callable[[Observation, UpdateView], Tensor]] = MappingProxyType(
    {
        "known": known,
        "idlg": idlg,
        "negative": negative,
        "yin": yin,
        "wainakh": wainakh,
        "counts": counts,
        "counts-without-bias": counts_without_bias,
        "counts-by-class": counts_by_class,
        "evolutionary": evolutionary,
    }
)
"""Ways to the labels by name."""


def _check_unique(name: str, observation: Observation, view: UpdateView) -> None:
    if observation.samples > view.classes:
        raise ConfigError(
            f"{name} finds each class at most once, so that a batch may have at most {view.classes} samples; the "
            f"update is from {observation.samples}. Take counts, which finds how often each class occurs."
        )


def _with_bias(name: str, observation: Observation, view: UpdateView) -> Tensor:
    bias = last_layer(observation, view.classes, scaled_gradient(observation, name)).bias
    if bias is None:
        raise ConfigError(f"{name} reads the bias of the last layer, which has none; take counts-without-bias.")
    return bias.double()


def _answers(observation: Observation, view: UpdateView) -> tuple[Tensor, Tensor]:
    """The logits of the attacker's own samples, or of random inputs where there are none, and the last layer's inputs.

    Those of a model are kept until its weights change, because all updates of a round are of one model.

    Returns:
        ``(N, classes)`` and ``(N, features)``.
    """
    model, own = observation.model, view.auxiliary
    weights = [(p.data_ptr(), p._version) for p in (*model.parameters(), *model.buffers())]
    kept = _KEPT.get(model)
    if kept is None or kept[0] is not own or kept[1] != weights:
        kept = _KEPT[model] = own, weights, _computed(model, _inputs(view))
    return kept[2]


_KEPT: WeakKeyDictionary[nn.Module, tuple[object, object, tuple[Tensor, Tensor]]] = WeakKeyDictionary()


def _inputs(view: UpdateView) -> Tensor:
    if len(view.auxiliary):
        return torch.from_numpy(view.auxiliary.inputs[:OWN])
    rng, spec = np.random.default_rng([view.seed, 1]), view.input
    low, high = spec.low or 0.0, 1.0 if spec.high is None else spec.high
    drawn = rng.uniform(low, high, (RANDOM, *spec.shape))
    return torch.from_numpy(np.rint(drawn).astype(np.int64) if spec.is_tokens else drawn.astype(np.float32))


def _computed(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    seen = list[Tensor]()
    layer = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    training, device = model.training, layer.weight.device
    try:
        with torch.no_grad():
            logits = torch.cat([model.eval()(part.to(device)) for part in inputs.split(BATCH)])
    finally:
        handle.remove()
        model.train(training)
    return logits, torch.cat(seen)


def _at_best_scale(
    bias: Tensor, view: UpdateView, labels: Callable[[Tensor], Tensor], explained: Callable[[Tensor], Tensor]
) -> Tensor:
    """The labels that the bias gives at the scale at which they explain its direction best.

    Args:
        bias: ``(classes,)``: the gradient of the bias, as it was sent.
        view: What the attacker knows; without a defense that changes updates their scale is what it should be.
        labels: From a gradient of the bias to labels.
        explained: From labels to the gradient of the bias that they should give.
    """
    changed = view.knows_defense and view.defense.changes_updates
    found = [labels(bias * scale) for scale in (SCALES if changed else (1.0,))]
    return max(found, key=lambda of: float(functional.cosine_similarity(explained(of), bias, dim=0)))


def _shares(labels: Tensor, classes: int) -> Tensor:
    return torch.bincount(labels, minlength=classes).double() / len(labels)


def _least(scores: Tensor, n: int) -> Tensor:
    return scores.cpu().argsort(stable=True)[:n].sort().values


def _rounded(estimates: Tensor, n: int) -> Tensor:
    """Labels whose counts are near to the estimates and sum to `n`: one after another, where the most is missing."""
    missing = estimates.double().cpu().clone()
    found = torch.zeros_like(missing)
    whole = missing.clamp(min=0).floor()
    if whole.sum() <= n:
        found, missing = whole, missing - whole
    while found.sum() < n:
        c = int(missing.argmax())
        found[c] += 1
        missing[c] -= 1
    return _listed(found)


def _listed(found: Tensor) -> Tensor:
    """Labels from counts."""
    return torch.arange(len(found)).repeat_interleave(found.long().cpu())
