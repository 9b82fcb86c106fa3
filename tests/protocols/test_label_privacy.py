"""Labels are drawn once before they are sent, by randomized response, and the plan says what that promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cutlayer.errors import ConfigError
from cutlayer.protocols.label_privacy import randomized
from cutlayer.protocols.private import guarantee
from cutlayer.protocols.sight import label, sees
from tests.protocols.direct import Run, planned
from tests.protocols.test_exact import assert_same


@pytest.mark.parametrize(("epsilon", "classes"), [(0.5, 2), (1.0, 10), (3.0, 4)])
def test_the_odds_of_the_true_label_are_those_of_epsilon(epsilon: float, classes: int) -> None:
    labels = np.arange(200_000) % classes
    sent = randomized(labels, classes, epsilon, np.random.default_rng(0))
    shift = np.bincount((sent - labels) % classes, minlength=classes) / len(labels)
    # Between any two labels a message is at most e^epsilon times likelier.
    assert shift[0] / shift[1:].mean() == pytest.approx(math.exp(epsilon), rel=0.03)
    assert np.allclose(shift[1:], shift[1:].mean(), atol=0.005)
    assert np.array_equal(randomized(labels, classes, 1000.0, np.random.default_rng(0)), labels)
    assert np.array_equal(randomized(labels % 1, 1, 0.1, np.random.default_rng(0)), labels % 1)


def test_a_label_is_drawn_once_and_the_server_gets_no_other_one() -> None:
    run = Run(planned("vanilla", dp={"label_epsilon": 1.0}, epochs=2), sizes=(40, 30, 20)).checked()
    drawn: dict[tuple[int, int], set[int]] = {}
    for client, events in run.seen.items():
        for event in (event for event in events if event.name == "sent"):
            for sample, sent in zip(event.what["index"], event.what["labels"].tolist(), strict=True):
                drawn.setdefault((client, int(sample)), set()).add(sent)
    assert all(len(labels) == 1 for labels in drawn.values())
    assert len(drawn) == 90
    true = sum(labels == {int(run.data[client].labels[sample])} for (client, sample), labels in drawn.items())
    assert 0.25 < true / 90 < 0.7  # 0.475
    received = [event.what["labels"] for event in run.heard if event.name == "received"]
    assert sum(map(len, received)) == 90 * 2 * 2


def test_without_it_nothing_changes_and_with_a_great_epsilon_neither() -> None:
    plain, sure = (Run(planned("splitfed-v1", **more)).checked() for more in ({}, {"dp": {"label_epsilon": 1000.0}}))
    assert_same(plain.whole(1), sure.whole(1))
    assert planned(dp={"label_epsilon": 0.0}).id == planned().id
    ids = {planned(dp=dp).id for dp in ({}, {"label_epsilon": 1.0}, {"clip": 1.0}, {"clip": 1.0, "label_epsilon": 1.0})}
    assert len(ids) == 4
    assert torch.equal(plain.whole(2)["fc2.weight"], sure.whole(2)["fc2.weight"])


def test_what_it_promises_and_what_not_is_said() -> None:
    plan = planned(dp={"label_epsilon": 2.0})
    assert "epsilon 2 for the label of one sample, over the whole training" in guarantee(plan)
    assert "Not protected by it are the smashed data" in guarantee(plan)
    assert "dp label_epsilon=2" in label(plan)
    assert "its label as drawn by randomized response" in sees(plan)[0]
    both = guarantee(planned(dp={"label_epsilon": 2.0, "clip": 1.0}), 100)
    assert both.startswith("DP-SGD gives")
    assert "Randomized response gives epsilon 2" in both
    for protocol, more in (("u-shaped", {"end": "relu3"}), ("fedavg", {}), ("local-loss", {})):
        with pytest.raises(ConfigError, match=r"dp\.label_epsilon hides labels that are sent"):
            planned(protocol, dp={"label_epsilon": 1.0}, **more)
