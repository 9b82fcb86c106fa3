"""What else smashed data tells: the class, an attribute, the person, and whether an input was trained on.

Each is compared with what is known without the smashed data (B. Jayaraman, D. Evans, "Are Attribute Inference Attacks
Just Imputation?", CCS 2022): the baseline is fitted in the same way, and knows only what the tail answers. The inputs
go through the device's own pipeline, one by one, as they go over the socket, and not over the socket.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from cutlayer.attacks.features.membership import membership_scores
from cutlayer.attacks.features.probe import NETWORKS, Probe, answer, pairs_of
from cutlayer.attacks.view import View
from cutlayer.data.modality import IMAGE
from cutlayer.data.splits import NO_CLASS, Dataset, Splits
from cutlayer.errors import ConfigError, near
from cutlayer.metrics.detection import Detected, detected
from cutlayer.metrics.interval import proportion
from cutlayer.privacy.view import Wire
from cutlayer.records.run import ProbeRecord

TARGETS = {
    "class": "the class of the input, beside what the tail answers",
    "attribute": "something else that is known of the input: an attribute of the data set, or whether it is bright",
    "identity": "whether two inputs show the same person, or come from the same photograph",
    "membership": "whether the input was in the victim's training part",
}
"""What a probe looks for, by the name in a plan."""

BRIGHT = "bright"
"""An attribute of every image, which no task needs: brighter on average than half of the attacker's images."""


def check(target: str, attribute: str, network: str, images: int, data: Splits) -> None:
    """Refuse a probe that these data cannot answer.

    Raises:
        ConfigError: What is asked for is unknown, or the data set does not hold it.
    """
    for name, known, what in ((target, TARGETS, "probe"), (network, NETWORKS, "network of a probe")):
        if name not in known:
            raise ConfigError(f"There is no {what} named {name!r:.80}; {near(name, known)}")
    parts = {"private": data.private, **({"train": data.train} if target == "membership" else {})}
    for name, part in parts.items():
        if images > len(part):
            raise ConfigError(
                f"The probe {target} wants {images:,} {name} inputs, and {data.name} has {len(part):,}; change "
                "probe.images."
            )
    private, own = data.private.take(images), data.auxiliary
    if target == "class" and not _comparable(private, own):
        raise ConfigError(
            f"A probe for the class of {data.name} cannot be fitted: the attackers' inputs do not have the classes of "
            'the private ones. Ask for target = "identity" where the class is a person.'
        )
    if target == "identity":
        for name, part in (("auxiliary", own), ("private", private)):
            if part.groups is None or np.unique(part.groups, return_counts=True)[1].max(initial=0) < 2:
                raise ConfigError(
                    f"The {name} inputs of {data.name} do not say which of them show the same person or photograph, "
                    "which a probe for the identity needs."
                )
            if len(np.unique(part.groups)) < 4:
                raise ConfigError(
                    f"A probe for the identity needs four people or photographs in each part; the {name} inputs of "
                    f"{data.name} show {len(np.unique(part.groups))}."
                )
    if target == "attribute":
        for name, part in (("auxiliary", own), ("private", private)):
            if len(np.unique(_attribute(attribute, data, part))) < 2:
                raise ConfigError(
                    f"All {name} inputs of {data.name} have the same value of the attribute {attribute!r}."
                )
    elif attribute:
        raise ConfigError(f'The probe {target} takes no attribute; write target = "attribute".')


def probe(
    view: View, wire: Wire, data: Splits, *, target: str, attribute: str, network: str, n_releases: int, images: int
) -> tuple[ProbeRecord, ...]:
    """Fit a probe on what the attacker may touch, and measure it on private inputs; for the membership also on members.

    Args:
        view: What the attacker may touch; black-box access at least.
        wire: The device's pipeline, with draws of its own.
        data: The truth.
        target: One of `TARGETS`.
        attribute: Name of the attribute, where that is the target.
        network: One of `cutlayer.attacks.features.probe.NETWORKS`.
        n_releases: Releases of each input that are observed.
        images: Number of private inputs, and of members.

    Returns:
        One record, or one for each score of the membership.
    """
    private = data.private.take(images)

    def record(how: str, found: Detected, **more: object) -> ProbeRecord:
        few, fewer = found.at
        return ProbeRecord(
            target=target, attribute=attribute, how=how, n_releases=n_releases, auc=found.auc, baseline=found.baseline,
            over_baseline=found.over, found_at_1_percent=few, found_at_01_percent=fewer, **more,  # type: ignore[arg-type]
        )  # fmt: skip

    if target == "membership":
        return tuple(
            record(how, found, positive=0.5) for how, found in _membership(view, wire, data, n_releases, images)
        )
    releases, units = _releases(wire, private.inputs, n_releases), _units(private)
    probes = [Probe(network=network, n_releases=n_releases, answer_only=only) for only in (False, True)]
    if target == "identity":
        assert private.groups is not None, "see check"
        assert view.auxiliary.groups is not None, "see check"
        first, second = pairs_of(private.groups, view.seed)
        same, products = private.groups[first] == private.groups[second], []
        for fitted in probes:
            fitted.fit_embedding(view, view.auxiliary.groups)
            vectors = fitted.embed(releases)
            products.append((vectors[first] * vectors[second]).sum(1)[:, None].round(6))
        found = detected(products[0], products[1], same[:, None], units, view.seed, (first, second))
        return (record(network, found, positive=float(same.mean()), pairs=len(same)),)
    if target == "attribute":
        own, truth = (_attribute(attribute, data, part) for part in (view.auxiliary, private))
        scores = []
        for fitted in probes:
            fitted.fit(view, own, 2)
            logs = fitted.infer(releases)
            scores.append(logs[:, 1:] - logs[:, :1])
        found = detected(scores[0], scores[1], truth[:, None] == 1, units, view.seed)
        return (record(network, found, positive=float(truth.mean())),)
    classes = max(len(data.classes), int(view.auxiliary.labels.max()) + 1)
    probes[0].fit(view, view.auxiliary.labels, classes)
    logs = probes[0].infer(releases)
    # The baseline needs no fit: it is the answer itself.
    answers = [known[:, :classes] for arrived in releases if (known := answer(view, arrived)) is not None]
    answered = torch.stack(answers).mean(0).numpy() if answers else np.zeros_like(logs)
    truth = private.labels[:, None] == np.unique(private.labels)
    mine, floor = (of[:, np.unique(private.labels)].round(6) for of in (logs, answered))
    found = detected(mine, floor, truth, units, view.seed)
    right = [proportion(int((of.argmax(1) == private.labels).sum()), images) for of in (logs, answered)]
    more = {"accuracy": right[0], "baseline_accuracy": right[1] if answers else None}
    return (record(network, found, positive=float(truth.mean()), **more),)


def _membership(view: View, wire: Wire, data: Splits, n_releases: int, images: int) -> Iterator[tuple[str, Detected]]:
    """Each score of members and of private inputs, beside one that knows nothing."""
    members, others = data.train.take(images), data.private.take(images)
    inputs = np.concatenate([members.inputs, others.inputs])
    labels = np.concatenate([members.labels, others.labels])
    releases, member = _releases(wire, inputs, n_releases), np.arange(2 * images) < images
    units = np.arange(2 * images)
    if members.groups is not None and others.groups is not None:
        units = np.concatenate([members.groups, others.groups])
    comparable = _comparable(others, view.auxiliary)
    for how, scores in membership_scores(view, releases, labels, comparable=comparable).items():
        rounded = scores[:, None].round(6)
        yield how, detected(rounded, np.zeros_like(rounded), member[:, None], units, view.seed)


def _attribute(name: str, data: Splits, part: Dataset) -> NDArray[np.int64]:
    """Whether each input of a part has an attribute, ``(N,)`` of 0 and 1.

    Raises:
        ConfigError: The data set does not know it.
    """
    if name in data.attributes and part.attributes is not None:
        return part.attributes[:, data.attributes.index(name)].astype(np.int64)
    known = [*data.attributes, *([BRIGHT] if data.modality is IMAGE else [])]
    if name == BRIGHT and BRIGHT in known:
        middle, own = (_brightness(of) for of in (data.auxiliary, part))
        return (own > np.median(middle)).astype(np.int64)
    raise ConfigError(f"{data.name} has no attribute named {name!r:.80}; {near(name, known)}")


def _brightness(part: Dataset) -> NDArray[np.float32]:
    means: NDArray[np.float32] = part.inputs.reshape(len(part), -1).mean(1)
    return means


def _releases(wire: Wire, inputs: NDArray[np.float32], n_releases: int) -> torch.Tensor:
    """What arrives for inputs that are sent one by one, ``(n_releases, N, *smashed.shape)``."""
    sent = [[wire(inputs[i : i + 1]) for i in range(len(inputs))] for _ in range(n_releases)]
    return torch.from_numpy(np.stack([np.concatenate(arrived) for arrived in sent])).float()


def _units(part: Dataset) -> NDArray[np.int64]:
    """Whole numbers, equal for inputs that do not count as independent."""
    return np.arange(len(part)) if part.groups is None else part.groups


def _comparable(part: Dataset, own: Dataset) -> bool:
    """Whether the classes of a part are known, and all of them are among those of the attacker's images."""
    return NO_CLASS not in part.labels and set(part.labels.tolist()) <= set(own.labels.tolist())
