"""What an attacker holds out to choose its settings by comes from other photographs than what it learns from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cutlayer.attacks.base import fitted, unbiased
from cutlayer.attacks.features import decoder, ridge
from cutlayer.attacks.queries import HELD_OUT, apart, varied, with_held_out
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError
from cutlayer.registry import ATTACKS
from tests.attacks.victims import linear_head


def grouped(view, groups):
    """The view, whose auxiliary images show nothing but the number of their group."""
    groups = np.asarray(groups)
    inputs = np.broadcast_to(groups[:, None, None, None] / 100, view.auxiliary.inputs[: len(groups)].shape)
    auxiliary = Dataset(inputs.astype(np.float32), np.zeros(len(groups), np.int64), groups=groups)
    return replace(view, auxiliary=auxiliary)


@pytest.mark.parametrize(("groups", "n", "expected"), [
    (np.arange(40) // 8, 0.1, 8),  # five photographs of eight crops: one of them
    (np.arange(40) // 2, 0.1, 4),  # twenty of two crops: two of them
    (np.arange(40) // 2, 5, 6),  # a number of images: three of them
    (np.arange(40) // 20, 0.9, 20),  # one of the two is always left
])  # fmt: skip
def test_whole_groups_are_held_out(make_view, groups, n, expected):
    images, n_fit = with_held_out(grouped(make_view(linear_head()), groups), 0, n)
    shown = images[:, 0, 0, 0]
    assert len(images) - n_fit == expected
    assert set(shown[:n_fit].tolist()).isdisjoint(shown[n_fit:].tolist())


@pytest.mark.parametrize("groups", [None, np.zeros(40, np.int64)])
def test_without_two_groups_the_last_images_are_held_out(make_view, groups):
    view = make_view(linear_head(), n=40)
    view = replace(view, auxiliary=replace(view.auxiliary, groups=groups))
    images, n_fit = with_held_out(view, 0, 0.1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(view.seed))
    assert n_fit == 36
    assert torch.equal(images, torch.from_numpy(view.auxiliary.inputs)[order])


def test_ridge_chooses_its_penalty_by_another_group(make_view, monkeypatch):
    solved = []
    monkeypatch.setattr(
        ridge,
        "solve",
        lambda a, x, n_fit: (solved.append((x, n_fit)) or torch.zeros(a.shape[1], x.shape[1]), 0.0),
    )
    ridge.Ridge().fit(grouped(make_view(linear_head()), np.arange(40) // 8))
    ((pixels, n_fit),) = solved
    shown = pixels[:, 0]
    assert n_fit == 32
    assert set(shown[:n_fit].tolist()).isdisjoint(shown[n_fit:].tolist())


def test_a_decoder_chooses_its_epoch_by_another_group(make_view, monkeypatch):
    decoded = []
    monkeypatch.setattr(decoder, "_decode", lambda network, smashed: decoded.append(smashed) or torch.zeros(8, 1, 6, 6))
    view = grouped(make_view(linear_head()), np.arange(40) // 8)
    decoder.Decoder(capacity="he-small", epochs=1).fit(view)
    assert len(decoded[0]) == 8
    assert len(decoded[0].unique(dim=0)) == 1  # eight crops of one photograph


@pytest.mark.parametrize("groups", [None, np.arange(40) // 8, np.arange(40) // 2])
def test_what_is_put_apart_is_what_every_attack_holds_out(make_view, groups):
    view = make_view(linear_head(), n=40)
    view = replace(view, auxiliary=replace(view.auxiliary, groups=groups))
    images, n_fit = with_held_out(view, 0, HELD_OUT)
    rest, put_apart = apart(view)
    assert torch.equal(put_apart, images[n_fit:])
    assert torch.equal(torch.from_numpy(rest.auxiliary.inputs), images[:n_fit])
    assert apart(view)[0] is rest


@pytest.mark.parametrize(
    ("name", "options", "keeps"),
    [
        ("ridge", {}, False),
        ("decoder", {"capacity": "he-small", "epochs": 1}, True),
        ("decoder", {"capacity": "he-small", "epochs": 1, "n_auxiliary": 30}, False),
        ("averaging", {"attack": "ridge", "n_releases": 2}, False),
        ("map", {"attack": "ridge", "iterations": 1}, False),
        ("map", {"options": {"capacity": "he-small", "epochs": 1}, "iterations": 1}, True),
    ],
)
def test_errors_are_measured_on_images_that_an_attack_has_not_learned_from(name, options, keeps, make_view):
    view, attack = make_view(linear_head(), n=60), ATTACKS.make(name, **options)
    assert attack.keeps_apart is keeps
    assert (unbiased(attack, view) is fitted(ATTACKS.make(name, **options), view)) is keeps


@pytest.mark.parametrize("name", ["ridge", "pca-ridge", "kernel-ridge"])
@pytest.mark.parametrize("n", [1])
def test_too_few_images_to_learn_from_are_said_with_the_least(name, n, make_view):
    with pytest.raises(ConfigError, match=f"learns from {n} images? of its own, and this attack needs at least 2"):
        ATTACKS.make(name).fit(make_view(linear_head(), n=n))


def test_variations_are_other_images_in_range(make_view):
    images = torch.from_numpy(make_view(linear_head()).auxiliary.inputs)
    made, again = (varied(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(made, again)
    assert made.shape == images.shape
    assert made.min() >= 0
    assert made.max() <= 1
    same = ((made == images).flatten(1).all(1) | (made == images.flip(-1)).flatten(1).all(1)).float().mean()
    assert 0.4 < same < 0.6
