"""Defenses of sentences of varying length: what arrives, what is promised, and what attacks on tokens still read."""

import functools
import json
from collections import OrderedDict
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.base import Attack
from cutlayer.attacks.tokens.permuted_pairs import PermutedPairs
from cutlayer.attacks.view import Access
from cutlayer.data.modality import IMAGE
from cutlayer.data.splits import Dataset, Splits
from cutlayer.data.text import open_tokenizer
from cutlayer.defenses.base import Defense, check_kind, deployed
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.edge.client import Edge
from cutlayer.edge.offline.policy import OfflinePolicy
from cutlayer.edge.pipeline import Pipeline
from cutlayer.edge.send import send
from cutlayer.errors import ConfigError
from cutlayer.metrics.tokens import right_share
from cutlayer.models import folder
from cutlayer.models.halves import SplitModel, copied
from cutlayer.models.halves import split as cut_at
from cutlayer.models.text_transformer import Block, Embedding, Mean
from cutlayer.models.zoo import build
from cutlayer.privacy.view import oracle, view, wire
from cutlayer.registry import ATTACKS, DEFENSES
from cutlayer.sequences import PAD, lengths
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.codecs.raw import Raw
from tests.defenses.sentences import LENGTH, SENTENCE, VOCABULARY, sentences, trained
from tests.defenses.victims import rng
from tests.models.language_folders import bert_folder
from tests.tiny_split import PATIENCE, serving


class Row(NamedTuple):
    """One defense at options at which it is quick.

    Attributes:
        strong: Options at which no attack reads more than chance.
        per_token: Whether a row is protected by itself, whatever the rest of the sentence is.
    """

    name: str
    options: dict[str, Any]
    strong: dict[str, Any] | None = None
    per_token: bool = True

    def __hash__(self) -> int:
        """Return the hash of the representation, because dicts have no hash."""
        return hash(repr(self))

    def make(self, **options: Any) -> Defense:
        return DEFENSES.make(self.name, **{**self.options, **options})


ROWS = [
    Row("none", {}),
    Row("sanitize-text", {"noise": 0.05, "epochs": 1}, {"noise": 5.0, "epochs": 0}),
    Row("sanitize-text", {"noise": 0.05, "sensitive": 0.5, "epochs": 0}),
    Row("gaussian-noise", {"sigma": 0.5}, {"sigma": 300.0}),
    Row("gaussian-noise", {"sigma": 0.2, "bound": "tanh", "noise_aware_epochs": 1}),
    Row("laplace-noise", {"scale": 0.5, "noise_aware_epochs": 1}, {"scale": 300.0}),
    Row("split-n-denoise", {"noise": 0.002, "hidden": 32, "epochs": 4}, {"noise": 2.0, "epochs": 0}),
    Row("local-dp", {"noise": 0.05, "epochs": 1}, {"noise": 50.0}),
    Row("local-dp", {"noise": 0.01, "mechanism": "laplace", "clip": 90.0, "epochs": 0}),
    Row("dropout", {"rate": 0.4, "epochs": 1}),
    Row("top-k", {"sparsity": 0.8, "epochs": 1}, per_token=False),
    Row("quantize", {"bits": 3, "epochs": 1}, per_token=False),
    Row("quantize", {"bits": 2, "rounding": "stochastic"}, per_token=False),
]
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row.make()))
IDS = sentences().private.inputs


class Hardened(NamedTuple):
    defense: Defense
    split: SplitModel


@functools.cache
def hardened(row: Row) -> Hardened:
    defense = row.make()
    return Hardened(defense, defense.harden(trained(), sentences(), seed=0))


@functools.cache
def strong(row: Row) -> Hardened:
    """Hardened once for all attacks."""
    assert row.strong is not None
    defense = row.make(**row.strong)
    return Hardened(defense, defense.harden(trained(), sentences(), seed=0))


def head_of(split: SplitModel):
    def head(ids: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return split.head(torch.from_numpy(ids)).numpy()

    return head


def sent(row: Row, ids: np.ndarray, codec: str = "raw", seed: int = 0) -> np.ndarray:
    defense, split = hardened(row)
    return wire(head_of(split), defense, codec, [seed], LENGTH)(ids)


def read(defense: Defense, split: SplitModel, attack: Attack) -> float:
    """The share of the private tokens that an attack reads."""
    receives = oracle(wire(head_of(split), defense, "raw", [1], LENGTH))
    halves = copied(split)
    seen = view(
        Access.WHITE_BOX, input=split.input, smashed=split.smashed, auxiliary=sentences().auxiliary, query=receives,
        defense=defense, tail=halves.tail, head=halves.head, device=torch.device("cpu"),
    )  # fmt: skip
    attack.fit(seen)
    releases = torch.stack([receives(torch.from_numpy(IDS)) for _ in range(attack.n_releases)])
    return float(right_share(attack.invert_releases(releases), torch.from_numpy(IDS)).mean())


KINDS = [ATTACKS.load(name) for name in ATTACKS if ATTACKS.load(name).rebuilds == ("tokens",)]
# The control and those that guess read nothing by design; the ways to know the words are tried one by one.
READERS = [attack() for attack in KINDS if attack is not PermutedPairs and not attack.is_floor]
READERS = [replace(attack, epochs=4, width=64) if hasattr(attack, "epochs") else attack for attack in READERS]
READERS += [replace(attack, words="none") for attack in READERS if hasattr(attack, "words")]
each_reader = pytest.mark.parametrize("reader", READERS, ids=repr)


def test_every_defense_has_a_row_or_says_why_it_has_none():
    able = {name for name in DEFENSES if "tokens" in DEFENSES.load(name).kinds}
    assert able == {row.name for row in ROWS}
    for name in set(DEFENSES) - able:
        options = {} if name != "shredder" else {"scale": 1.0}
        with pytest.raises(ConfigError, match=r"does not protect sentences: its? .*\. Choose from .*gaussian-noise"):
            check_kind(DEFENSES.make(name, **options), sentences().modality)


def test_a_chain_is_refused_for_one_of_its_parts():
    chain = GaussianNoise(sigma=0.1).then(DEFENSES.make("nopeek"))
    with pytest.raises(ConfigError, match=r"NoPeek.* does not protect sentences"):
        check_kind(chain, sentences().modality)
    check_kind(chain, IMAGE)


def test_a_bound_that_makes_tokens_of_padding_is_refused():
    defense = GaussianNoise(sigma=0.1, bound="sigmoid")
    with pytest.raises(ConfigError, match="bound must be tanh or clip, because sigmoid is not 0"):
        defense.harden(trained(), sentences(), seed=0)


@each
@pytest.mark.parametrize("codec", ["raw", "int8+zstd"])
def test_each_sentence_arrives_in_its_own_length_and_the_tail_takes_it(row, codec):
    arrived = sent(row, IDS, codec)
    assert arrived.shape == (len(IDS), *hardened(row).split.smashed.shape)
    assert np.isfinite(arrived).all()
    behind = np.arange(LENGTH) >= lengths(IDS)[:, None]
    assert not arrived[behind].any(), "noise stands where there is no token"
    assert (arrived[~behind].any(axis=1).mean()) > 0.99
    for ids, one in zip(IDS[:6], arrived, strict=False):
        with torch.no_grad():
            logits = [
                hardened(row).split.tail(torch.from_numpy(rows[None])) for rows in (one, one[: lengths(ids[None])[0]])
            ]
        torch.testing.assert_close(*logits, rtol=1e-3, atol=1e-3)


@each
def test_a_batch_of_several_lengths_is_protected_as_each_sentence_alone(row):
    defense, split = hardened(row)
    pipeline = Pipeline(head_of(split), defense, codec_named("raw"), LENGTH)
    mixed = codec_named("raw").decode(pipeline.release(IDS, rng()).encoded)
    assert not mixed[np.arange(mixed.shape[1]) >= lengths(IDS)[:, None]].any()
    if not defense.random:
        np.testing.assert_allclose(mixed, sent(row, IDS), atol=1e-5)
        alone = pipeline.wire(IDS[:1], rng())
        np.testing.assert_allclose(mixed[:1], alone, atol=1e-4)


@each
def test_what_was_learned_protects_alike_on_the_device(row):
    defense, split = hardened(row)
    again = row.make()
    again.deploy(defense.learned, lambda: split)
    assert np.array_equal(wire(head_of(split), again, "raw", [0], LENGTH)(IDS), sent(row, IDS))


def test_a_bounded_head_takes_any_length_from_its_folder(tmp_path):
    row = next(row for row in ROWS if "bound" in row.options)
    defense, split = hardened(row)
    about = {"model": "text_transformer", "classes": 2, "data": None, "defense": {"name": row.name, **row.options}}
    # The head alone is asked; a tail of two blocks takes seconds to export.
    short = replace(split, tail=nn.Sequential(Mean(), nn.Linear(128, 2)))
    folder.save(tmp_path / "split", short, learned=defense.learned, weights=False, **about)
    opened = open_split(tmp_path / "split")
    assert opened.manifest.length == LENGTH
    arrived = wire(opened.head(), deployed(opened), "raw", [0], LENGTH)(IDS[:8])
    np.testing.assert_allclose(arrived, sent(row, IDS[:8]), rtol=1e-2, atol=2e-3)


@each
def test_facts_are_finite_and_do_not_count_padding(row):
    defense, split = hardened(row)
    facts = defense.facts(head_of(split)(IDS))
    json.dumps(facts, allow_nan=False)
    longer = np.pad(head_of(split)(IDS), ((0, 0), (0, 5), (0, 0)))
    for name, value in defense.facts(longer).items():
        if not name.startswith("epsilon_after") and isinstance(value, float):
            assert value == pytest.approx(facts[name], rel=1e-4)


@each
def test_the_model_still_answers(row):
    data = sentences().test
    with torch.no_grad():
        answers = hardened(row).split.tail(torch.from_numpy(sent(row, data.inputs))).argmax(1).numpy()
    assert (answers == data.labels).mean() > 0.7


def test_rows_are_clipped_each_by_itself_and_its_epsilon_is_that_of_a_row():
    row = Row("local-dp", {"noise": 50.0, "epochs": 0})
    defense, split = hardened(row)
    smashed = head_of(split)(IDS)
    clip = float(defense.learned["clip"])
    norms = np.linalg.norm(smashed[IDS != PAD], axis=1)
    assert norms.min() < clip < norms.max()
    mean = defense.density(smashed).mean
    assert np.linalg.norm(mean, axis=2).max() <= clip * 1.0001
    small = np.linalg.norm(smashed, axis=2) < clip
    np.testing.assert_array_equal(mean[small], smashed[small])
    facts = defense.facts(smashed)
    assert facts["clipped_share"] == pytest.approx((norms > clip).mean())
    # sqrt(T) as far apart in the L2 norm, which is as T releases of one row.
    assert facts["epsilon_after_1"] == defense.epsilon(LENGTH)
    assert facts["epsilon_of_a_row_after_4"] == defense.epsilon(4)
    assert f"of {LENGTH} tokens" in facts["guarantee"]
    laplace = Row("local-dp", {"noise": 50.0, "mechanism": "laplace", "clip": 1.0, "epochs": 0})
    assert hardened(laplace).defense.facts(smashed)["epsilon_after_1"] == pytest.approx(LENGTH / 50)


@each_reader
def test_without_a_defense_sentences_are_read_and_behind_a_strong_one_they_are_not(reader):
    assert read(*hardened(ROWS[0]), reader) > 0.8
    for row in ROWS:
        if row.strong:
            assert read(*strong(row), reader) < 0.25, row


@each_reader
def test_several_releases_read_more_through_noise(reader):
    noise, split = GaussianNoise(sigma=8.0), trained()
    name = next(name for name in ATTACKS if ATTACKS.load(name) is type(reader))
    options = {key: getattr(reader, key) for key in ("words", "epochs", "width") if hasattr(reader, key)}
    many = ATTACKS.make("averaging", attack=name, options=options, n_releases=16)
    assert read(noise, split, many) > read(noise, split, reader) + 0.1


@pytest.fixture(scope="module")
def split_n_denoise(tmp_path_factory):
    """The folder of a model of one block, cut behind its embedding, whose device takes noise out of the answers."""
    options, place = {"noise": 0.02, "epochs": 4}, tmp_path_factory.mktemp("folder") / "split"
    defense, described = DEFENSES.make("split-n-denoise", **options), {"name": "split-n-denoise", **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = {"block": Block(128, 4), "mean": Mean(), "fc": nn.Linear(128, 2)}
        model = nn.Sequential(OrderedDict(embedding=Embedding(VOCABULARY, LENGTH, 128), **parts))
    split = defense.harden(cut_at(model.eval(), "embedding", SENTENCE), sentences(), seed=0)
    about = {
        "model": "text_transformer",
        "classes": 2,
        "data": None,
        "defense": {"name": "split-n-denoise", **described},
    }
    folder.save(place, split, learned=defense.learned, weights=False, **about)
    return place


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_a_device_mends_what_a_server_answers_over_a_socket(split_n_denoise, transport):
    opened = open_split(split_n_denoise)
    defense, tail = deployed(opened), opened.tail()
    with serving(split_n_denoise, transport) as client:
        device = Edge(opened.manifest, Pipeline(opened.head(), defense, Raw(), LENGTH), client, PATIENCE)
        for i in range(6):
            ids = IDS[i : i + 1]
            answer, trace = device.infer(ids, i, rng(i))
            assert trace.tensor_bytes == 4 * 128 * lengths(ids)[0]
            released = Pipeline(opened.head(), defense, Raw(), LENGTH).release(ids, rng(i))
            raw = tail(Raw().decode(released.encoded))
            np.testing.assert_allclose(answer, released.mend(raw), rtol=1e-4, atol=1e-4)
            assert np.abs(answer - raw).max() > 1e-3


def test_a_queue_of_requests_cannot_be_mended(split_n_denoise, tmp_path):
    policy = OfflinePolicy("queue", queue=tmp_path / "queue")
    with pytest.raises(ConfigError, match="a queue keeps requests alone; choose another policy"):
        send(split_n_denoise, "inprocess://nobody", data=sentences(), count=1, policy=policy)


@pytest.mark.parametrize(
    "name", ["sanitize-text", *(pytest.param(name, marks=pytest.mark.slow) for name in ("split-n-denoise", "local-dp"))]
)
def test_a_model_of_hugging_face_layout_is_defended_and_its_marks_stay(name, tmp_path):
    place = bert_folder(tmp_path / "bert")
    tokenizer = open_tokenizer(place / "tokenizer.json")
    ids = tokenizer.ids(["the patient has a fever", "no fever since monday", "a patient"] * 20, 10)
    part = Dataset(ids, np.arange(60) % 2, tokenizer.modality)
    data, spec = Splits("made", ("yes", "no"), part, part, part, part), tokenizer.modality.spec(10)
    defense = DEFENSES.make(name, noise=1.0, epochs=1)
    split = defense.harden(cut_at(build(f"hf/{place}", spec, 2, 0), "layer1", spec), data, seed=0)
    arrived = wire(head_of(split), defense, "raw", [0], 10)(ids[:6])
    assert np.isfinite(arrived).all()
    assert not arrived[ids[:6] == PAD].any()
    rewritten = defense.rewrite(ids, rng())
    marks = np.isin(ids, [PAD, *tokenizer.marks])
    assert (rewritten[marks] == ids[marks]).all()
    assert not np.isin(rewritten[~marks], [PAD, *tokenizer.marks]).any()
    assert (rewritten != ids).any() == (name == "sanitize-text")
