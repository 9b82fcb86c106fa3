"""What every detector promises, its formula on vectors made by hand, and what it says of four servers (A23, short)."""

from __future__ import annotations

from dataclasses import is_dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.attacks.training.split_spy import SplitSpy
from cutlayer.attacks.training.training_inversion import system
from cutlayer.attacks.training.view import TrainingView
from cutlayer.data.splits import Dataset
from cutlayer.defenses.detectors.base import Detector, Watched
from cutlayer.defenses.detectors.similarity import Gap, Scrutinizer, gap, overlap, similarities
from cutlayer.defenses.detectors.split_guard import SplitGuard
from cutlayer.defenses.detectors.split_out import SplitOut
from cutlayer.errors import ConfigError
from cutlayer.metrics.detection import Curve
from cutlayer.registry import DETECTORS
from cutlayer.spec import TensorSpec
from tests.attacks.victims import IMAGE, convolutional_head

CLASSES, BATCH, STEPS = 4, 32, 70


def images(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images whose brightest quarter is their class."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (n,), generator=random)
    inputs = torch.rand(n, *IMAGE, generator=random) * 0.7
    for image, label in zip(inputs, labels.tolist(), strict=True):
        top, left = divmod(label, 2)
        image[0, 3 * top : 3 * top + 3, 3 * left : 3 * left + 3] += 0.3
    return inputs, labels


def tail(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(72, 32), nn.ReLU(), nn.Linear(32, CLASSES))


def simulated(seed: int) -> Tensor:
    """First-layer gradients of a training of the client's own."""
    head, end, rows = convolutional_head().train(), tail(seed + 50), []
    inputs, labels = images(200, seed + 50)
    optimizer = torch.optim.Adam([*head.parameters(), *end.parameters()], 3e-3)
    for step in range(40):
        chosen = slice(BATCH * (step % 6), BATCH * (step % 6) + BATCH)
        optimizer.zero_grad()
        functional.cross_entropy(end(head(inputs[chosen])), labels[chosen]).backward()
        rows.append(head[0].weight.grad.flatten().clone())
        optimizer.step()
    return torch.stack(rows)


def suspicions(server: str, seed: int) -> dict[str, list[float]]:
    """Train with a server that is honest, hijacks, learns random labels, or spies; return what each detector says."""
    inputs, labels = images(600, seed)
    head, end, rng = convolutional_head().train(), tail(seed), np.random.default_rng(seed)
    steps = [torch.optim.Adam(part.parameters(), 3e-3) for part in (head, end)]
    fast = {"lr": 1e-3, "decoder_lr": 1e-3, "critic_lr": 1e-3, "width": 8, "batch": BATCH, "capacity": "he-small"}
    attack = {"fsha": system("fsha", **fast), "spy": SplitSpy(attack=system("fsha", **fast))}.get(server)
    if attack:
        theirs = Dataset(images(200, 99)[0].numpy(), images(200, 99)[1].numpy())
        attack.begin(TrainingView(TensorSpec(IMAGE), TensorSpec((8, 3, 3)), CLASSES, theirs, seed))
    detectors: dict[str, Detector] = {name: DETECTORS.make(name) for name in DETECTORS}
    detectors["split-guard"] = SplitGuard(share=0.25, start=20)
    detectors["split-out"].simulated(simulated(seed))
    said: dict[str, list[float]] = {name: [] for name in detectors}
    guard = detectors["split-guard"]
    for step in range(STEPS):
        chosen = torch.from_numpy(rng.integers(len(inputs), size=BATCH))
        truth = labels[chosen]
        sent = guard.sent_labels(truth, CLASSES, step, rng)
        smashed = head(inputs[chosen])
        leaf = smashed.detach().requires_grad_()
        learned = torch.from_numpy(rng.integers(CLASSES, size=BATCH)) if server == "random" else sent
        gradient = attack.step(leaf.detach(), sent, end) if attack else None
        functional.cross_entropy(end(leaf), learned).backward()
        gradient = leaf.grad if gradient is None else gradient
        for optimizer in steps:
            optimizer.zero_grad()
        (first,) = torch.autograd.grad(smashed, head[0].weight, gradient, retain_graph=True)
        watched = Watched(gradient, sent, first, truth)
        for name, detector in detectors.items():
            if watched.is_fake and name != "split-guard":
                continue
            if (suspicion := detector.watch(watched)) is not None:
                said[name].append(suspicion)
        if not watched.is_fake:
            smashed.backward(gradient)
            steps[0].step()
        steps[1].step()
    return said


@pytest.fixture(scope="module")
def said() -> dict[str, list[dict[str, list[float]]]]:
    return {server: [suspicions(server, seed) for seed in (0,)] for server in ("honest", "random", "fsha", "spy")}


def auc(said: dict[str, list[dict[str, list[float]]]], server: str, detector: str) -> float:
    """The chance that a suspicion of the later half of a dishonest run is above one of an honest run."""
    runs = [[s for run in said[of] for s in run[detector][len(run[detector]) // 2 :]] for of in ("honest", server)]
    scores, positive = np.array(runs[0] + runs[1]), np.arange(len(runs[0]) + len(runs[1])) >= len(runs[0])
    return float(Curve(scores, positive).auc(np.ones((1, len(scores)), np.float32))[0])


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_says_something_finite(name, said):
    assert is_dataclass(DETECTORS.load(name))
    assert DETECTORS.load(name).plain_words
    for runs in said.values():
        assert all(run[name] and np.isfinite(run[name]).all() for run in runs)


# Gradients of random labels are short, as those of a model that has learned: outliers are not among them.
@pytest.mark.parametrize("name", ["gap", "scrutinizer", "split-guard"])
def test_a23_a_server_that_learns_random_labels_is_found(name, said):
    assert auc(said, "random", name) > 0.95


@pytest.mark.parametrize("name", ["gap", "scrutinizer", "split-out"])
@pytest.mark.parametrize("server", ["fsha", "spy"])
def test_a23_a_hijacking_server_is_found_by_what_reads_no_labels_of_its_own(name, server, said):
    assert auc(said, server, name) > 0.95


def test_a23_split_guard_fails_where_the_server_spots_its_labels(said):
    spy, learned = (np.median(said[server][0]["split-guard"]) for server in ("spy", "random"))
    assert spy < 0.1 < 0.5 < learned


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
