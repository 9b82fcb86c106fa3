import math

import numpy as np
import pytest
import torch

from cutlayer.cloud.tap import Tap, read
from cutlayer.defenses.base import Defense, deployed
from cutlayer.privacy.view import oracle, wire
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import codec_named
from tests.tiny_split import SMASHED, edge_at, images, serving, write_split


def at_the_server(folder, victims, codec="raw", seed=0):
    """The smashed data of each of these images in the tap, sent one by one from the device of this folder."""
    tap = Tap(folder / "tap")
    with serving(folder, "inprocess", tap=tap) as client:
        edge = edge_at(folder, client, deployed(open_split(folder)), codec_named(codec))
        edge._rng = np.random.default_rng(seed)
        for index in range(len(victims)):
            edge.infer(victims[index : index + 1], index)
    tap.close()
    return np.concatenate([smashed for _, smashed in read(folder / "tap")])


def attackers_oracle(folder):
    split = open_split(folder)
    return oracle(wire(split.head(), deployed(split), "raw", [0, *b"ridge"]))


@pytest.mark.parametrize("codec", ["int8", "int4:channel+zstd", "top-k:0.2", "bf16+shuffle+zstd"])
def test_what_the_attack_sees_is_what_arrived_after_the_codec(tmp_path, codec):
    folder, victims = tmp_path / "split", images(3)
    write_split(folder)
    arrived = at_the_server(folder, victims, codec)
    query = oracle(wire(open_split(folder).head(), Defense(), codec, [0]))
    seen = np.concatenate([query(torch.from_numpy(image[None])).numpy() for image in victims])
    np.testing.assert_array_equal(seen, arrived)
    clean = open_split(folder).head()(victims)
    assert arrived.shape == clean.shape == (3, *SMASHED.shape)
    assert not np.array_equal(arrived, clean)


TOP_K, QUANTIZE = {"name": "top-k", "sparsity": 0.9}, {"name": "quantize", "bits": 2}


@pytest.mark.parametrize("defense", [TOP_K, QUANTIZE, {**TOP_K, "then": QUANTIZE}], ids=str)
def test_what_the_attack_sees_is_what_arrived_after_the_defense(tmp_path, defense):
    folder, victims = tmp_path / "split", images(3)
    write_split(folder, defense=defense)
    arrived = at_the_server(folder, victims)
    query = attackers_oracle(folder)
    np.testing.assert_array_equal(query(torch.from_numpy(victims)).numpy(), arrived)
    assert not np.array_equal(arrived, open_split(folder).head()(victims))


def test_the_noise_at_the_server_is_the_one_that_was_set_and_the_attackers_is_another(tmp_path):
    folder, victims, sigma = tmp_path / "split", images(60), 0.3
    write_split(folder, defense={"name": "gaussian-noise", "sigma": sigma})
    query = attackers_oracle(folder)
    releases = at_the_server(folder, victims), query(torch.from_numpy(victims)).numpy()
    noises = [release - open_split(folder).head()(victims) for release in releases]
    for noise in noises:
        assert abs(noise.var() / sigma**2 - 1) < 4 * math.sqrt(2 / noise.size)
    assert abs(np.corrcoef(noises[0].ravel(), noises[1].ravel())[0, 1]) < 4 / math.sqrt(noises[0].size)
