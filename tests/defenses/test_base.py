import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.defenses.base import Chain, Defense, deployed
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.mid import Mid
from cutlayer.defenses.ressfl import ResSFL
from cutlayer.errors import ConfigError, SplitError
from cutlayer.models import folder
from cutlayer.models.halves import copied, split
from cutlayer.models.manifest import LEARNED
from cutlayer.models.zoo import build
from cutlayer.registry import defense_from
from cutlayer.spec import image_spec
from cutlayer.split_folder import open_split

IMAGE = image_spec(1, 28, 28)
THEN = {"name": "laplace-noise", "scale": 0.25, "then": {"name": "gaussian-noise", "sigma": 0.5}}


@pytest.fixture
def halves():
    return split(build("he_lenet", IMAGE, 10), "conv1", IMAGE)


def test_a_description_with_then_makes_a_chain():
    chain = defense_from(THEN)
    assert isinstance(chain, Chain)
    assert isinstance(chain.first, LaplaceNoise)
    assert isinstance(chain.second, GaussianNoise)
    assert THEN["then"] == {"name": "gaussian-noise", "sigma": 0.5}, "the description is not used up"


@pytest.mark.parametrize("wrong", [{"name": "none", "then": {"sigma": 1.0}}, {"name": "none", "then": {"name": "no"}}])
def test_a_wrong_follower_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"needs a name|There is no defense"):
        defense_from(wrong)


class Offset(Defense):
    """Adds what it has learned."""

    def __init__(self, value: float = 0.0) -> None:
        self._offset = np.full((1,), value, np.float32)

    @property
    def learned(self):
        return {"offset": self._offset}

    def deploy(self, learned, folder):
        self._offset = learned["offset"]

    def protect(self, smashed, rng):
        return smashed + self._offset


def test_what_was_learned_travels_in_the_split_folder(halves, tmp_path, monkeypatch):
    chain = Offset(1.0).then(Offset(2.0))
    assert {*chain.learned} == {"first.offset", "second.offset"}
    about = {"model": "he_lenet", "classes": 10, "defense": {"name": "none"}, "data": None}
    assert LEARNED in folder.save(tmp_path / "split", halves, **about, learned=chain.learned).files
    monkeypatch.setattr("cutlayer.defenses.base.defense_from", lambda description: Offset().then(Offset()))
    fresh = deployed(open_split(tmp_path / "split"))
    assert fresh.protect(np.zeros(2, np.float32), np.random.default_rng(0)).tolist() == [3.0, 3.0]
    (tmp_path / "split" / LEARNED).write_bytes(b"spoiled")
    with pytest.raises(SplitError, match=f"{LEARNED} is not the file"):
        deployed(open_split(tmp_path / "split"))


def test_a_folder_of_a_defense_that_learned_nothing_has_no_such_file(halves, tmp_path):
    noise = {"name": "gaussian-noise", "sigma": 0.5}
    folder.save(tmp_path / "split", halves, model="he_lenet", classes=10, defense=noise, data=None, learned={})
    assert not (tmp_path / "split" / LEARNED).exists()
    assert isinstance(deployed(open_split(tmp_path / "split")), GaussianNoise)


class Narrow(Defense):
    """Changes the structure."""

    def surgery(self, split):
        from cutlayer.models.halves import graft

        channels = split.smashed.shape[0]
        return graft(split, "narrow", to_head=nn.Conv2d(channels, 2, 1), to_tail=nn.Conv2d(2, channels, 1))


def test_a_folder_loads_into_the_structure_that_its_defense_made(halves, tmp_path, monkeypatch):
    monkeypatch.setattr("cutlayer.models.folder.defense_from", lambda description: Narrow())
    halves = Narrow().surgery(halves)
    folder.save(tmp_path / "split", halves, model="he_lenet", classes=10, defense={"name": "narrow"}, data=None)
    loaded = open_split(tmp_path / "split").halves()
    images = torch.rand(2, *IMAGE.shape)
    assert loaded.smashed == halves.smashed
    torch.testing.assert_close(loaded.tail(loaded.head(images)), halves.tail(halves.head(images)))


class Trained(Defense):
    """Changes the model in training."""

    def harden(self, split, data, seed):
        return copied(split)


def test_a_defense_that_trains_does_not_follow_one_that_protects(halves):
    noise = GaussianNoise(sigma=0.5)
    with pytest.raises(ConfigError, match="would be trained without GaussianNoise"):
        noise.then(Trained()).harden(halves, None, 0)
    assert Trained().then(noise).harden(halves, None, 0) is not halves
    assert Trained().then(Trained()).harden(halves, None, 0) is not halves
    assert noise.then(LaplaceNoise(scale=0.1)).harden(halves, None, 0) is halves


def test_two_bottlenecks_follow_one_another():
    halves = split(build("he_lenet", IMAGE, 10), "pool1", IMAGE)
    chain = ResSFL(bottleneck="noRELU_C4S1").then(Mid())
    narrowed = chain.surgery(halves)
    assert narrowed.smashed.shape == (4, *halves.smashed.shape[1:])
    sent = chain.protect(narrowed.head(torch.rand(2, *IMAGE.shape)), np.random.default_rng(0))
    assert narrowed.tail(sent).shape == (2, 10)


def test_facts_that_both_state_keep_their_names():
    smashed = np.random.default_rng(0).random((64, 4), np.float32)
    stated = GaussianNoise(sigma=0.5).then(GaussianNoise(sigma=1.0)).facts(smashed)
    assert {*stated} == {"first snr_db", "second snr_db"}
    assert stated["first snr_db"] > stated["second snr_db"]
