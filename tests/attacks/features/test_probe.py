"""Probes against heads whose smashed data tells everything, or nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.features.membership import membership_scores
from cutlayer.attacks.features.probe import Probe, pairs_of
from cutlayer.attacks.view import CLOUD, LINK, Access
from cutlayer.data.splits import Dataset
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.metrics.detection import Curve, detected
from cutlayer.privacy.view import oracle, view
from cutlayer.spec import TensorSpec, image_spec
from tests.attacks.victims import IMAGE, smooth_images

N = 400


def seen(head, data, *, tail=None, sigma=0.0, vantage=CLOUD):
    defense, rng = GaussianNoise(sigma=sigma), np.random.default_rng(3)

    def wire(images):
        with torch.inference_mode():
            return defense.protect(head(torch.from_numpy(images)).numpy(), rng)

    size = tuple(wire(data.inputs[:2]).shape[1:])
    return view(
        Access.BLACK_BOX, input=image_spec(*IMAGE), smashed=TensorSpec(size), auxiliary=data, query=oracle(wire),
        defense=defense, tail=tail, device=torch.device("cpu"), vantage=vantage,
    )  # fmt: skip


def bright(n, seed, groups=None):
    """Images, and whether the first pixel is brighter than the last."""
    images = smooth_images(n, seed).numpy()
    return Dataset(images, (images[:, 0, 0, 0] > images[:, 0, -1, -1]).astype(np.int64), groups=groups)


def released(view, data, n=1):
    return torch.stack([view.query(torch.from_numpy(data.inputs)) for _ in range(n)])


def noisy(images, seed):
    return images.flatten(1) + torch.randn(
        len(images), images[0].numel(), generator=torch.Generator().manual_seed(seed)
    )


def area(scores, positive):
    return float(Curve(scores, positive).auc(np.ones((1, len(scores)), np.float32))[0])


def test_what_the_head_passes_on_is_found():
    own, private = bright(N, 1), bright(200, 2)
    held, probe = seen(nn.Flatten(), own), Probe()
    probe.fit(held, own.labels, 2)
    logs = probe.infer(released(held, private))
    assert logs.shape == (200, 2)
    assert area(logs[:, 1] - logs[:, 0], private.labels == 1) > 0.99


@pytest.mark.parametrize("network", ["linear", "mlp"])
def test_an_attribute_that_is_passed_on_exactly_has_auc_1_and_a_constant_head_half(network):
    class Exactly(nn.Module):
        def forward(self, x):
            return (x[:, :, 0, 0] > x[:, :, -1, -1]).float()

    own, private = bright(N, 1), bright(200, 2)
    truth = private.labels[:, None] == 1
    for head, expected in ((Exactly(), 1.0), (lambda x: torch.full((len(x), 9), 0.3), 0.5)):
        held, probe = seen(head, own), Probe(network=network)
        probe.fit(held, own.labels, 2)
        logs = probe.infer(released(held, private))
        found = detected((logs[:, 1:] - logs[:, :1]).round(6), np.zeros((200, 1)), truth, np.arange(200), 0)
        assert found.auc.value == expected
        assert found.auc.low <= expected <= found.auc.high


def test_a_network_finds_what_a_linear_function_does_not():
    """Whether two corners are alike is the sign of a product."""

    def alike(n, seed):
        images = smooth_images(n, seed).numpy()
        return Dataset(images, ((images[:, 0, 0, 0] > 0.5) == (images[:, 0, -1, -1] > 0.5)).astype(np.int64))

    own, private = alike(1200, 1), alike(300, 2)
    held, found = seen(nn.Flatten(), own), {}
    for network in ("linear", "mlp"):
        probe = Probe(network=network)
        probe.fit(held, own.labels, 2)
        logs = probe.infer(released(held, private))
        found[network] = area(logs[:, 1] - logs[:, 0], private.labels == 1)
    assert found["linear"] < 0.65 < 0.9 < found["mlp"]


@pytest.mark.parametrize("seed", range(1, 7, 2))
def test_where_a_linear_function_is_all_there_is_the_network_is_left_out(seed):
    """What is noise for the one must not be learned by the other."""
    own, private = bright(N, seed), bright(200, seed + 1)
    held, answers = seen(nn.Flatten(), own, sigma=1.0), []
    for network in ("linear", "mlp"):
        probe = Probe(network=network)
        probe.fit(replace(held, _query=lambda images: noisy(images, seed)), own.labels, 2)
        answers.append(probe.infer(noisy(torch.from_numpy(private.inputs), seed + 1)[None]))
    np.testing.assert_array_equal(*answers)


def test_more_releases_tell_more():
    own, private = bright(N, 1), bright(300, 2)
    held, found = seen(nn.Flatten(), own, sigma=1.0), {}
    for n in (1, 16):
        probe = Probe(n_releases=n)
        probe.fit(held, own.labels, 2)
        logs = probe.infer(released(held, private, n))
        found[n] = area(logs[:, 1] - logs[:, 0], private.labels == 1)
    assert 0.6 < found[1] < found[16] - 0.1


def test_the_baseline_knows_the_answer_and_no_more():
    """The tail answers one pixel: of an attribute that is another pixel it tells nothing, of that pixel everything."""

    class Pixel(nn.Module):
        def forward(self, smashed):
            return torch.stack([smashed[:, 0], 1 - smashed[:, 0]], 1) * 4

    rng = np.random.default_rng(0)
    own, private = (Dataset(rng.random((n, *IMAGE), np.float32), np.zeros(n, np.int64)) for n in (N, 400))
    held = seen(nn.Flatten(), own, tail=Pixel())
    for pixel, expected in ((0, 1.0), (5, 0.5)):
        truth, sought = (part.inputs.reshape(len(part), -1)[:, pixel] > 0.5 for part in (own, private))
        baseline, probe = Probe(answer_only=True), Probe()
        for fitted in (baseline, probe):
            fitted.fit(held, truth.astype(np.int64), 2)
        told, more = (of.infer(released(held, private)) for of in (baseline, probe))
        assert area(told[:, 1] - told[:, 0], sought) == pytest.approx(expected, abs=0.07)
        assert area(more[:, 1] - more[:, 0], sought) > 0.99


def test_on_the_link_there_is_no_answer_to_know():
    own, private = bright(N, 1), bright(50, 2)
    held = seen(nn.Flatten(), own, tail=nn.Linear(36, 2), vantage=LINK)
    baseline = Probe(answer_only=True)
    baseline.fit(held, own.labels, 2)
    assert np.ptp(baseline.infer(released(held, private)), axis=0).max() == 0


def people(n_people, seed, each=8):
    """Images of people, each with a pattern of its own, under one disturbance that is much stronger."""
    rng = np.random.default_rng(seed)
    pattern, light = rng.normal(size=(n_people, 1, 36)), np.linspace(-1, 1, 36)
    images = 0.5 + 0.03 * pattern + 0.2 * rng.normal(size=(n_people, each, 1)) * light + 0.01 * rng.normal(
        size=(n_people, each, 36)
    )  # fmt: skip
    who = np.repeat(np.arange(n_people), each)
    return Dataset(images.reshape(-1, *IMAGE).astype(np.float32), who, groups=who + 1000 * seed)


@pytest.mark.parametrize("network", ["linear", "mlp"])
def test_people_that_nobody_has_seen_are_verified(network):
    own, private = people(60, 1), people(20, 2)
    first, second = pairs_of(private.groups, 0)
    same = private.groups[first] == private.groups[second]
    held, probe = seen(nn.Flatten(), own), Probe(network=network)
    probe.fit_embedding(held, own.groups)
    vectors = probe.embed(released(held, private))
    raw = private.inputs.reshape(len(private), -1)
    plain = -np.square(raw[first] - raw[second]).sum(1)
    assert area((vectors[first] * vectors[second]).sum(1), same) > max(0.97, area(plain, same) + 0.1)
    blind = seen(lambda x: torch.ones(len(x), 5), own)
    probe.fit_embedding(blind, own.groups)
    nothing = probe.embed(released(blind, private))
    assert area((nothing[first] * nothing[second]).sum(1), same) == 0.5


def test_whole_groups_are_held_out():
    """Labels that belong to a person by lot say nothing of other people, however well they are learned by heart."""
    own, private = people(60, 1), people(40, 2)
    lots = np.random.default_rng(0).integers(0, 2, 200)
    held, probe = seen(nn.Flatten(), own), Probe()
    probe.fit(held, lots[own.groups - 1000], 2)
    logs = probe.infer(released(held, private))
    margins = np.abs(logs[:, 1] - logs[:, 0])
    assert margins.mean() < 0.5, "a penalty that was chosen on the same people would be weak, and the answers sure"


def test_all_pairs_of_a_group_are_kept():
    groups = np.repeat(np.arange(30), 4)
    first, second = pairs_of(groups, 0, most=500)
    same = groups[first] == groups[second]
    assert (same.sum(), (~same).sum()) == (30 * 6, 500)
    assert len({*zip(first.tolist(), second.tolist(), strict=True)}) == len(first)


def test_members_are_told_by_an_overfitted_tail_and_not_by_an_untrained_one():
    rng = np.random.default_rng(0)

    def random_labels(n):
        return Dataset(rng.random((n, *IMAGE), np.float32), rng.integers(0, 4, n))

    members, others, own = random_labels(100), random_labels(100), random_labels(300)
    torch.manual_seed(0)
    tail = nn.Sequential(nn.Linear(36, 256), nn.ReLU(), nn.Linear(256, 4))
    inputs = np.concatenate([members.inputs, others.inputs])
    labels = np.concatenate([members.labels, others.labels])
    held = seen(nn.Flatten(), own, tail=tail.eval())
    member = np.arange(200) < 100

    def scored():
        return membership_scores(held, held.query(torch.from_numpy(inputs))[None], labels, comparable=True)

    untrained = {name: area(scores, member) for name, scores in scored().items()}
    assert untrained.keys() == {"confidence", "loss", "distance", "calibrated"}
    assert all(0.38 < value < 0.62 for value in untrained.values()), untrained
    optimizer = torch.optim.Adam(tail.parameters(), 3e-3)
    pixels, targets = torch.from_numpy(members.inputs).flatten(1), torch.from_numpy(members.labels)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(tail(pixels), targets).backward()
        optimizer.step()
    overfitted = {name: area(scores, member) for name, scores in scored().items()}
    assert overfitted["loss"] > 0.95
    assert min(overfitted["confidence"], overfitted["calibrated"]) > 0.8


def test_without_a_tail_or_the_classes_fewer_scores_are_left():
    own = bright(60, 1)
    arrived = torch.zeros(1, 5, 36)
    labels = np.zeros(5, np.int64)
    link = seen(nn.Flatten(), own, tail=nn.Linear(36, 2), vantage=LINK)
    assert membership_scores(link, arrived, labels, comparable=True).keys() == {"distance"}
    cloud = seen(nn.Flatten(), own, tail=nn.Linear(36, 2))
    assert membership_scores(cloud, arrived, labels - 1, comparable=False).keys() == {"confidence"}
