"""What every detector promises, its formula on vectors made by hand, and what it says of four servers (A23, short)."""

from __future__ import annotations

from dataclasses import is_dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.detection import FAST, SERVERS, Course, alarm, auc, course
from cutlayer.data.splits import Dataset
from cutlayer.defenses.detectors.base import Detector, Watched
from cutlayer.defenses.detectors.similarity import Gap, Scrutinizer, gap, overlap, similarities
from cutlayer.defenses.detectors.split_guard import SplitGuard
from cutlayer.defenses.detectors.split_out import SplitOut
from cutlayer.errors import ConfigError
from cutlayer.models.halves import SplitModel
from cutlayer.registry import DETECTORS
from cutlayer.spec import TensorSpec
from tests.attacks.victims import IMAGE, convolutional_head

ROWS = [
    "gap",
    "scrutinizer",
    "split-guard",
    "split-out",
]
CLASSES = 4
OPTIONS = {**FAST, "width": 8, "batch": 32}


def quarters(n: int, seed: int) -> Dataset:
    """Images whose brightest quarter is their class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=n)
    inputs = rng.random((n, *IMAGE), np.float32) * 0.7
    for image, label in zip(inputs, labels, strict=True):
        top, left = divmod(int(label), 2)
        image[0, 3 * top : 3 * top + 3, 3 * left : 3 * left + 3] += 0.3
    return Dataset(inputs, labels)


def halves() -> SplitModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tail = nn.Sequential(nn.Flatten(), nn.Linear(72, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    return SplitModel(convolutional_head(), tail, "relu", TensorSpec(IMAGE), TensorSpec((8, 3, 3)))


@pytest.fixture(scope="module")
def courses() -> dict[str, list[Course]]:
    data = quarters(600, 0), quarters(200, 99), CLASSES
    options = {"steps": 60, "lr": 3e-3, "options": OPTIONS, "detectors": {"split-guard": {"share": 0.25}}}
    return {server: [course(server, halves(), *data, seed=0, **options)] for server in SERVERS}


def test_every_registered_detector_has_a_row():
    assert {*ROWS} == {*DETECTORS}


@pytest.mark.parametrize("name", ROWS)
def test_every_detector_says_something_finite(name, courses):
    assert is_dataclass(DETECTORS.load(name))
    assert DETECTORS.load(name).plain_words
    for runs in courses.values():
        assert all(run.said[name] and np.isfinite(run.said[name]).all() for run in runs)


# Gradients of random labels are short, as those of a model that has learned: outliers are not among them.
@pytest.mark.parametrize("name", ["gap", "scrutinizer", "split-guard"])
def test_a23_a_server_that_learns_random_labels_is_found(name, courses):
    assert auc(courses, "random", name) > 0.95


@pytest.mark.parametrize("name", ["gap", "scrutinizer", "split-out"])
@pytest.mark.parametrize("server", ["fsha", "spy"])
def test_a23_a_hijacking_server_is_found_by_what_reads_no_labels_of_its_own(name, server, courses):
    assert auc(courses, server, name) > 0.95


def test_a23_split_guard_fails_where_the_server_spots_its_labels(courses):
    spy, learned = ([value for _, value in courses[of][0].said["split-guard"]] for of in ("spy", "random"))
    assert np.median(spy) < 0.1
    assert np.mean(learned) > 0.2


def test_the_alarm_is_the_first_suspicion_above_all_of_the_honest_training():
    honest = Course({"gap": [(0, 0.2), (1, 0.3), (2, 0.1)]}, [])
    hijack = Course({"gap": [(0, 0.1), (1, 0.3), (2, 0.4)]}, [(0, 0.08), (1, 0.05), (2, 0.06), (3, 0.01)])
    assert alarm({"honest": [honest], "fsha": [hijack, honest]}, "fsha", "gap") == [(2, 0.05), None]


# By hand.


def test_gap_and_overlap_of_similarities():
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    same, different = similarities(rows, torch.tensor([0, 0, 1, 1]))
    assert same.tolist() == [1, 1]
    assert different.tolist() == [0.5] * 4
    assert gap(same, different) == pytest.approx(1 / 3)
    assert overlap(same, different) == 0
    assert overlap(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == 1
    assert overlap(np.array([0.0, 1.0]), np.array([0.5, 1.5])) == pytest.approx(0.5)
    assert similarities(rows, torch.zeros(4)) is None


def test_the_scale_of_the_gradients_does_not_matter():
    gradient, labels = torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 4
    step = [Watched(scale * gradient, labels, gradient[0], labels) for scale in (1.0, 1e-6)]
    assert Gap().watch(step[0]) == pytest.approx(Gap().watch(step[1]), abs=1e-5)


def test_split_guard_sends_other_labels_for_all_samples_of_some_batches():
    guard, rng, labels = SplitGuard(share=0.5, start=10), np.random.default_rng(0), torch.arange(20) % CLASSES
    sent = [guard.sent_labels(labels, CLASSES, step, rng) for step in range(60)]
    fake = [bool((of != labels).any()) for of in sent]
    assert not any(fake[:10])
    assert 15 <= sum(fake) <= 35
    assert all(
        (of != labels).all() and of.min() >= 0 and of.max() < CLASSES for of, f in zip(sent, fake, strict=True) if f
    )


def test_split_guard_trusts_fakes_that_differ_and_suspects_fakes_that_do_not():
    def suspicion(fake: Tensor) -> float:
        guard, random, labels = SplitGuard(), torch.Generator().manual_seed(0), torch.zeros(2)
        real = torch.tensor([1.0, 0.0])
        for _ in range(40):
            guard.watch(Watched(real, labels, real + 0.05 * torch.randn(2, generator=random), labels))
        return guard.watch(Watched(real, labels + 1, fake, labels))

    assert suspicion(torch.tensor([-3.0, 0.5])) < 0.1
    assert suspicion(torch.tensor([1.0, 0.01])) > 0.5


def test_split_out_needs_a_simulation_and_marks_what_is_far_from_it():
    random = torch.Generator().manual_seed(0)
    near, labels = torch.randn(31, 5, generator=random), torch.zeros(1)
    detector = SplitOut(window=1)
    step = [Watched(near[:1], labels, row, labels) for row in (near[30], 20 * near[0])]
    with pytest.raises(ConfigError, match="needs simulated gradients"):
        detector.watch(step[0])
    with pytest.raises(ConfigError, match="needs 3 simulated gradients"):
        detector.simulated(near[:2])
    detector.simulated(near[:30])
    assert detector.watch(step[0]) < 1.5 < detector.watch(step[1])


def test_the_scrutinizer_needs_a_history():
    labels = torch.arange(8) % 2
    step = Watched(torch.eye(8), labels, torch.zeros(1), labels)
    scrutinizer: Detector = Scrutinizer()
    assert [scrutinizer.watch(step) is None for _ in range(5)] == [True] * 3 + [False] * 2
