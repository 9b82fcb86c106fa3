"""Defenses of which the server learns a sum: what it is, what one message shows, what breaks them (A22)."""

import sys

import numpy as np
import pytest
import torch

from cutlayer.defenses.updates.ckks import Ckks
from cutlayer.defenses.updates.client_dp import ClientDP
from cutlayer.defenses.updates.ffl_swap import FFLSwap
from cutlayer.defenses.updates.fixed import decoded, encoded, limit
from cutlayer.defenses.updates.fragments import Fragments
from cutlayer.defenses.updates.secure_aggregation import Keys, SecureAggregation, masked
from cutlayer.errors import ConfigError, DecodeError

SHARED = [SecureAggregation(), SecureAggregation(peers=2), Fragments(), Fragments(peers=1), Fragments(peers=9)]


def updates(clients: int = 5, n: int = 4000) -> dict[int, dict[str, np.ndarray]]:
    """Updates with the sizes of gradients: most numbers near 0, some large ones."""
    rng = np.random.default_rng(7)
    draw = lambda *shape: (rng.standard_normal(shape) * rng.random(shape) ** 4).astype(np.float32)  # noqa: E731
    return {3 * client + 1: {"w": draw(n // 10, 10), "b": draw(10)} for client in range(clients)}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("defense", SHARED, ids=repr)
def test_a22_the_sum_of_what_is_sent_is_the_plain_sum_in_fixed_point_exactly(defense):
    given = updates()
    for names in ("w", "b"):
        words = [encoded(update[names], defense.bits, limit(defense.bits) / 5) for update in given.values()]
        plain = decoded(np.sum(words, 0, dtype=np.uint32), defense.bits).astype(np.float32)
        found = defense.summed(defense.share(given, rng()))[names]
        assert np.array_equal(found, plain)
        assert np.abs(found - sum(update[names] for update in given.values())).max() < 6 / 2 ** (defense.bits + 1)


@pytest.mark.parametrize("defense", SHARED, ids=repr)
def test_what_one_client_sends_is_uniform_and_says_nothing_of_its_update(defense):
    given = updates()
    for client, sent in defense.share(given, rng()).items():
        words = np.concatenate([np.rint(sent[name] * 2**defense.bits).ravel() for name in ("w", "b")])
        ranks = (words + 2**31) / 2**32
        # Of 4,010 uniform numbers the mean is within 5 deviations, and each of 16 bins has its share.
        assert abs(ranks.mean() - 0.5) < 5 * (1 / 12 / len(ranks)) ** 0.5
        expected = len(ranks) / 16
        assert (np.abs(np.histogram(ranks, 16, (0, 1))[0] - expected) < 6 * expected**0.5).all()
        own = np.concatenate([given[client][name].ravel() for name in ("w", "b")])
        assert abs(np.corrcoef(words, own)[0, 1]) < 5 / len(own) ** 0.5


def test_without_peers_there_is_nothing_to_hide_behind():
    """One of two clients knows the other's update from the sum; a single client has no peer."""
    given = updates(2)
    first, second = given
    total = SecureAggregation().summed(SecureAggregation().share(given, rng()))
    assert np.abs(total["w"] - given[second]["w"] - given[first]["w"]).max() < 1e-5
    for defense in (SecureAggregation(), Fragments()):
        with pytest.raises(ConfigError, match="two clients or more"):
            defense.share({first: given[first]}, rng())


def test_all_peers_together_with_the_server_take_the_masks_of_a_client_away():
    """K - 1 of K clients collude: the rest of what client 1 sends is its update."""
    keys = {client: Keys() for client in (1, 2, 3, 4)}
    public = {client: pair.public for client, pair in keys.items()}
    zero, own = {"w": np.zeros(6, np.uint32)}, {"w": np.arange(6, dtype=np.uint32)}
    sent = masked(own, 1, keys[1], public, b"round 1", 9)
    assert not np.array_equal(sent["w"], own["w"])
    with_2 = {client: public[client] for client in (1, 2)}
    known = [masked(zero, c, keys[c], {1: public[1], c: public[c]}, b"round 1", 9)["w"] for c in (2, 3, 4)]
    assert np.array_equal(sent["w"] + np.sum(known, 0, dtype=np.uint32), own["w"])
    assert not np.array_equal(sent["w"] + np.sum(known[:2], 0, dtype=np.uint32), own["w"])
    # Another round, or another pair, has another mask.
    once, again = (masked(zero, 1, keys[1], with_2, context, 9)["w"] for context in (b"round 1", b"round 2"))
    assert not np.array_equal(once, again)


def test_masks_form_a_ring_of_so_many_neighbours():
    keys = {client: Keys() for client in range(1, 8)}
    public = {client: pair.public for client, pair in keys.items()}
    own = {"w": np.zeros(3, np.uint32)}
    for peers, n in ((1, 2), (2, 2), (4, 4), (100, 6)):
        sent = [masked(own, client, keys[client], public, b"", peers)["w"] for client in keys]
        assert not np.sum(sent, 0, dtype=np.uint32).any()
        # Every neighbour's mask is missing from a sum without that neighbour.
        alone = masked(own, 4, keys[4], {c: public[c] for c in _within(n // 2)}, b"", peers)["w"]
        assert np.array_equal(alone, sent[3])


def _within(reach: int) -> list[int]:
    return sorted({(3 + step) % 7 + 1 for step in range(-reach, reach + 1)})


def test_a_key_that_is_none_is_refused():
    for public in (bytes(32), b"short"):
        with pytest.raises(DecodeError, match="no X25519 key"):
            Keys().mask(public, b"", 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -5000.0, 700.0])
def test_numbers_that_would_wrap_around_are_refused(value):
    """Five clients may each use a fifth of the range of ±2,048."""
    given = updates()
    given[4]["b"] = given[4]["b"].copy()
    given[4]["b"][3] = value
    for defense in (SecureAggregation(), Fragments()):
        with pytest.raises(ConfigError, match=r"b is .* at most, which is not within the ±409"):
            defense.share(given, rng())
    if abs(value) < 1000:
        SecureAggregation(bits=16).share(given, rng())


def test_ffl_exchanges_31_of_100_coordinates_and_leaves_a_client_without_partner_as_it_is():
    given = updates(5)
    shared = FFLSwap().share(given, rng())
    stays = {client: float((shared[client]["w"] == given[client]["w"]).mean()) for client in given}
    assert sorted(stays.values())[-1] == 1
    assert sorted(stays.values())[:4] == pytest.approx([0.6915] * 4, abs=0.03)
    # The released code draws its mask from a normal law and keeps what is 0.5 or more.
    assert (rng().standard_normal(100_000) >= 0.5).mean() == pytest.approx(FFLSwap().exchanged, abs=0.005)


def test_ffl_two_images_are_read_from_the_coordinates_that_stay():
    """Weights over biases of a first layer are the image of whichever client a coordinate belongs to.

    Each input of the layer has as many such ratios as there are units. Those that agree are the two images.
    """
    torch.manual_seed(0)
    images = torch.rand(2, 40)
    layer = torch.nn.Linear(40, 64)
    given = {}
    for client, image in enumerate(images, 1):
        torch.nn.functional.cross_entropy(layer(image[None]), torch.tensor([client])).backward()
        given[client] = {"w": layer.weight.grad.clone(), "b": layer.bias.grad.clone()}
        layer.zero_grad()
    sent = FFLSwap().share(given, rng())[1]
    ratios = sent["w"] / sent["b"][:, None]
    agreeing = ((ratios[:, None] - ratios[None]).abs() < 1e-4).sum(1)
    found = ratios.gather(0, agreeing.argmax(0)[None])[0]
    assert (found - images[0]).abs().max() < 1e-3


def test_ckks_adds_ciphertexts_and_each_of_them_says_nothing():
    pytest.importorskip("tenseal", reason="The extra he is not installed.")
    given, defense = updates(3, 13_416), Ckks()
    shared = defense.share(given, rng())
    for sent in shared.values():
        assert {value.dtype for value in sent.values()} == {np.dtype(np.uint8)}
        # 13,426 numbers in four ciphertexts of 4,096: 0.94 MB, 17 to 18 times their 53,704 bytes.
        assert 900_000 < sum(value.size for value in sent.values()) < 980_000
    found = defense.summed(shared)
    for name in ("w", "b"):
        assert found[name].dtype == np.float32
        assert np.abs(found[name] - sum(update[name].astype(np.float64) for update in given.values())).max() < 1e-6
    # Another key decrypts nothing of it.
    other = Ckks()
    other.share(given, rng())
    assert np.abs(other.summed(shared)["w"] - found["w"]).max() > 1e6


def test_ckks_says_what_it_takes(monkeypatch):
    with pytest.raises(ConfigError, match="degree must be 0, 8192"):
        Ckks(degree=4096)
    monkeypatch.setitem(sys.modules, "tenseal", None)
    with pytest.raises(ConfigError, match=r"install cutlayer\[he\]"):
        Ckks().share(updates(2), rng())


def test_client_dp_bounds_what_one_client_moves_and_adds_noise_of_the_stated_deviation():
    """The sensitivity is that of the whole update: clipped by layer it would be the root of their number greater."""
    (update,) = updates(1).values()
    sent = ClientDP(bound=0.5, noise=0.0).protect_update(update, rng(), {})
    assert sum((value**2).sum() for value in sent.values()) ** 0.5 == pytest.approx(0.5, rel=1e-5)
    noisy = ClientDP(bound=0.5, noise=3.0).protect_update(update, rng(), {})
    drawn = np.concatenate([(noisy[name] - sent[name]).ravel() for name in sent])
    assert drawn.std() == pytest.approx(1.5, rel=0.05)


def test_epsilon_of_single_updates_is_in_the_hundreds_and_that_of_a_sum_far_below():
    """Noise of a thousandth of the bound in each of 13,426 numbers is a tenth of an update's length."""
    gentle = ClientDP(bound=1.0, noise=0.1)
    # T / (2 z^2) + (2 T log(1 / delta))^.5 / z, from which the conversion takes a little off.
    assert gentle.epsilon(1, 1e-5) == pytest.approx(98, rel=0.03)
    assert gentle.epsilon(10, 1e-5) == pytest.approx(652, rel=0.01)
    assert gentle.epsilon(10, 1e-5, among=1000) < 5
    assert ClientDP(bound=0.0).epsilon(1, 1e-5) == ClientDP(noise=0.0).epsilon(1, 1e-5) == float("inf")
