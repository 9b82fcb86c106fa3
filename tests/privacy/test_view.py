import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from cutlayer.attacks.view import LENGTHS
from cutlayer.attacks.view import SMASHED as DECODED
from cutlayer.cloud.tap import Tap, read
from cutlayer.defenses.base import Defense, deployed
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.quantize import Quantize
from cutlayer.defenses.top_k import TopK
from cutlayer.privacy import view
from cutlayer.privacy.view import on_card, oracle, query_of, wire
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


def oracles(defense):
    """The same head and defense as an oracle of the card's kind, here on the CPU, and as the device's pipeline."""
    torch.manual_seed(0)
    head = torch.nn.Sequential(
        torch.nn.Conv2d(images(1).shape[1], 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()
    ).eval()
    pipeline = wire(lambda x: head(torch.from_numpy(x)).detach().numpy(), defense, "raw", [0])
    return on_card(head, defense, torch.device("cpu"), [0]), oracle(pipeline)


def test_a_query_on_the_card_gives_what_the_devices_pipeline_gives():
    victims = torch.from_numpy(images(40))
    card, device = oracles(TopK(sparsity=0.9).then(Quantize(bits=2)))
    assert not card(victims).requires_grad
    torch.testing.assert_close(card(victims), device(victims), rtol=1e-4, atol=1e-5)


def test_the_noise_of_a_query_on_the_card_has_the_law_of_the_devices():
    victims = torch.from_numpy(images(60))
    clean = oracles(Defense())[0](victims)
    card, device = oracles(LaplaceNoise(scale=0.3))
    noises = [(ask(victims) - clean).flatten().numpy() for ask in (card, card, device)]
    assert not np.array_equal(noises[0], noises[1])
    assert all(ks_2samp(noise, noises[2]).pvalue > 1e-3 for noise in noises[:2])


@pytest.mark.parametrize(
    ("device", "codec", "sees", "there"),
    [("cuda", "raw", DECODED, True), ("cpu", "raw", DECODED, False), ("cuda", "int8", DECODED, False),
     ("cuda", "raw", LENGTHS, False)],
)  # fmt: skip
def test_queries_are_answered_on_the_card_where_that_gives_the_same(device, codec, sees, there, monkeypatch):
    monkeypatch.setattr(view, "pick_device", lambda: torch.device(device))
    monkeypatch.setattr(view, "on_card", lambda *_: "card")
    assert (query_of(sees, lambda x: x, Defense(), codec, [0], torch.nn.Identity()) == "card") == there
