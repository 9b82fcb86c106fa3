"""Was an input among those that the victim's model was trained on? Scores of what arrives, the greater the more likely.

- ``confidence``: the log-probability of the class that the tail answers (A. Salem et al., "ML-Leaks", NDSS 2019).
- ``loss``: the log-probability of the true class, for an attacker who knows it (S. Yeom et al., CSF 2018).
- ``distance``: the distance of the smashed data to the nearest mean of a class of the attacker's images, negative.
- ``calibrated``: how much surer of its answer the tail is than a linear probe that was fitted on the attacker's images,
  none of which is a member (L. Watson et al., "On the Importance of Difficulty Calibration in Membership Inference
  Attacks", ICLR 2022; there the reference is a model of the same kind).

None of them has seen a member, so that nothing can be chosen among them: each is a figure of its own.

Threat model: an honest-but-curious server, which holds the tail; ``distance`` and ``calibrated`` need black-box access.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.attacks.features.probe import Probe, answer
from cutlayer.attacks.queries import release
from cutlayer.attacks.view import LINK, View
from cutlayer.data.splits import NO_CLASS

IMAGES = 5000
"""Images of the attacker that are used, at most."""


def membership_scores(
    view: View, releases: Tensor, labels: NDArray[np.int64], *, comparable: bool
) -> dict[str, NDArray[np.float32]]:
    """The scores of inputs by their names; those that need a tail are left out where the view has none.

    Args:
        view: What the attacker may touch.
        releases: ``(n_releases, N, *smashed.shape)``.
        labels: The true class of each input, ``(N,)``, for the score that takes it to be known.
        comparable: Whether the attacker's images have the classes of the inputs.
    """
    scores: dict[str, NDArray[Any]] = {}
    answers = [known for arrived in releases if (known := answer(view, arrived)) is not None]
    logs = torch.stack(answers).mean(0).numpy() if answers else None
    if logs is not None:
        scores["confidence"] = logs.max(1)
        if (labels != NO_CLASS).all():
            scores["loss"] = logs[np.arange(len(labels)), labels]
    if comparable:
        scores["distance"] = _nearness(view, releases)
        if logs is not None:
            # Whoever reads the link has no tail, and so no part of the victim's answer.
            reference, own = Probe(n_releases=len(releases), images=IMAGES), view.auxiliary.labels
            reference.fit(replace(view, vantage=LINK, _kept={}), own, max(int(own.max()) + 1, logs.shape[1]))
            rows, answered = np.arange(len(logs)), logs.argmax(1)
            scores["calibrated"] = logs[rows, answered] - reference.infer(releases)[rows, answered]
    return scores


def _nearness(view: View, releases: Tensor) -> NDArray[np.float32]:
    """The distance to the nearest mean of a class, negative, in numbers of standard deviation 1."""
    own = view.auxiliary.take(IMAGES)
    arrived = release(view.query, torch.from_numpy(own.inputs)).flatten(1)
    scale = arrived.std(0)
    scale = torch.where(scale > 1e-6 * scale.max(), 1 / scale, 0.0)
    means = torch.stack([arrived[torch.from_numpy(own.labels == label)].mean(0) for label in np.unique(own.labels)])
    found = torch.cdist(releases.float().cpu().mean(0).flatten(1) * scale, means * scale).amin(1)
    return -found.numpy()
