"""The probes of a small split: what is refused, what is recorded, and what a number of it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.view import Access
from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError
from cutlayer.privacy.probes import TARGETS, check, probe
from cutlayer.privacy.view import oracle, view
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.run import ProbeRecord
from cutlayer.spec import TensorSpec, image_spec

SHAPE, PIXELS = (1, 4, 4), 16


def part(n, seed, *, groups=None):
    """Noise; the class is the first pixel, and the attribute the second."""
    images = np.random.default_rng(seed).random((n, *SHAPE), np.float32)
    pixels = images.reshape(n, -1)
    return Dataset(
        images, (pixels[:, 0] > 0.5).astype(np.int64), groups=groups, attributes=(pixels[:, 1:2] > 0.5).astype(np.int8)
    )


def splits(**groups):
    parts = [part(n, seed) for seed, n in enumerate((200, 400, 200, 50))]
    return Splits("made", ("dark", "light"), *parts, attributes=("second",))


class Tail(nn.Module):
    """It answers the class, with an error now and then."""

    def forward(self, smashed):
        logit = 8 * (smashed[:, 0] - 0.5) + 3 * (smashed[:, 7] - 0.5)
        return torch.stack([-logit, logit], 1)


def measured(target, data, *, gain=1.0, **more):
    def wire(images):
        return gain * images.reshape(len(images), PIXELS)

    seen = view(
        Access.BLACK_BOX, input=image_spec(*SHAPE), smashed=TensorSpec((PIXELS,)), auxiliary=data.auxiliary,
        query=oracle(wire), defense=Defense(), tail=Tail(), device=torch.device("cpu"),
    )  # fmt: skip
    asked = {"attribute": "", "network": "linear", "n_releases": 1, "images": 200, **more}
    check(target, asked["attribute"], asked["network"], asked["images"], data)
    return probe(seen, wire, data, target=target, **asked)


def test_the_class_is_told_better_than_by_the_answer():
    (record,) = measured("class", splits())
    assert record.accuracy.value > 0.93
    assert record.baseline_accuracy.value < record.accuracy.value
    assert 0 < record.over_baseline.low <= record.over_baseline.value
    assert record.auc.n == 200
    assert record.found_at_1_percent is None


def test_an_attribute_that_the_answer_does_not_tell_is_told_by_the_smashed_data():
    (record,) = measured("attribute", splits(), attribute="second")
    assert record.auc.value > 0.99
    assert record.baseline.low <= 0.5 <= record.baseline.high
    assert record.over_baseline.low > 0.3
    assert record.found_at_1_percent is None or record.found_at_1_percent.value > 0.8
    (bright,) = measured("attribute", splits(), attribute="bright")
    assert bright.auc.value > 0.98
    assert bright.positive == pytest.approx(0.5, abs=0.15)


def test_a_head_that_tells_nothing_is_not_told_apart_from_the_baseline():
    for target, attribute in (("attribute", "second"), ("class", "")):
        (record,) = measured(target, splits(), gain=0.0, attribute=attribute)
        assert record.auc.value == record.baseline.value == 0.5
        assert record.over_baseline.low <= 0 <= record.over_baseline.high


def test_members_that_nothing_was_trained_on_are_not_found():
    records = measured("membership", splits())
    assert {record.how for record in records} == {"confidence", "loss", "distance", "calibrated"}
    for record in records:
        assert (record.auc.n, record.baseline.value) == (400, 0.5)
        assert record.auc.value == pytest.approx(0.5, abs=0.1)
        assert record.found_at_1_percent.value < 0.1
        assert record.found_at_01_percent is None


def test_identity_is_a_question_of_pairs():
    rng = np.random.default_rng(0)

    def people(n, first):
        own, groups = rng.random((n, 1, PIXELS)), np.repeat(np.arange(first, first + n), 5)
        images = (own + 0.02 * rng.normal(size=(n, 5, PIXELS))).clip(0, 1).astype(np.float32)
        return Dataset(images.reshape(-1, *SHAPE), np.zeros(5 * n, np.int64), groups=groups)

    data = splits()
    data = replace(data, auxiliary=people(30, 0), private=people(20, 100))
    (record,) = measured("identity", data, images=100)
    assert record.pairs == 100 * 99 // 2
    assert record.positive == pytest.approx(20 * 10 / record.pairs)
    assert record.auc.value > 0.99
    assert record.auc.value > record.baseline.high, "the answer is two numbers"
    assert record.auc.n == 100
    assert record.found_at_01_percent.value > 0.8


@pytest.mark.parametrize(
    ("target", "more", "words"),
    [
        ("weight", {}, "no probe named 'weight'"),
        ("class", {"network": "deep"}, "no network of a probe named 'deep'"),
        ("class", {"images": 201}, "201 private inputs, and made has 200"),
        ("membership", {"images": 150, "train": 100}, "150 train inputs"),
        ("attribute", {"attribute": "third"}, "no attribute named 'third'"),
        ("attribute", {}, "no attribute named ''"),
        ("class", {"attribute": "second"}, "takes no attribute"),
        ("identity", {}, "same person or photograph"),
        ("class", {"strangers": True}, "do not have the classes"),
    ],
)
def test_what_the_data_cannot_answer_is_refused(target, more, words):
    data = splits()
    data = replace(data, train=data.train.take(more.pop("train", None)))
    if more.pop("strangers", False):
        data = replace(data, auxiliary=replace(data.auxiliary, labels=data.auxiliary.labels + 2))
    asked = {"attribute": "", "network": "linear", "images": 100, **more}
    with pytest.raises(ConfigError, match=words):
        check(target, data=data, **asked)


def test_records_come_back_as_they_were_written():
    records = [*measured("membership", splits()), *measured("class", splits())]
    assert [load(ProbeRecord, dump(record)) for record in records] == records


def test_each_target_has_words():
    assert all(TARGETS.values())
