"""Searches over rows of tokens: TAG and LAMP."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.attacks.gradients.client import observed
from cutlayer.attacks.gradients.inverting_gradients import InvertingGradients
from cutlayer.attacks.gradients.lamp import LAMP
from cutlayer.attacks.gradients.language import longest
from cutlayer.attacks.gradients.replay import Replay
from cutlayer.attacks.gradients.sentences import Ordered, Sentences, language_model, moved
from cutlayer.attacks.gradients.tag import TAG
from cutlayer.attacks.gradients.view import CPU, Observation, UpdateView
from cutlayer.data.modality import tokens as token_modality
from cutlayer.data.splits import Dataset
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.errors import ConfigError
from cutlayer.models.text_transformer import Block, Embedding, Mean
from cutlayer.spec import image_spec, token_spec

VOCABULARY, LENGTH, CLASSES, WIDTH = 30, 6, 3, 64
SPEC = token_spec(LENGTH, VOCABULARY)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = [Embedding(VOCABULARY, LENGTH, WIDTH), Block(WIDTH, 4), Mean(), nn.LayerNorm(WIDTH)]
    return nn.Sequential(*layers, nn.Linear(WIDTH, CLASSES)).eval()


@pytest.fixture(scope="module")
def view() -> UpdateView:
    """An attacker whose sentences count upwards, which a language model learns."""
    start = np.random.default_rng(0).integers(1, 20, 200)
    own = (start[:, None] + np.arange(LENGTH)).astype(np.int64)
    auxiliary = Dataset(own, start % CLASSES, token_modality(VOCABULARY))
    return UpdateView(input=SPEC, classes=CLASSES, auxiliary=auxiliary)


def update(model: nn.Module, *sentences: list[int]) -> Observation:
    ids = torch.tensor([s + [0] * (LENGTH - len(s)) for s in sentences])
    labels = torch.arange(len(ids)) % CLASSES
    return observed(model, ids, labels, Unprotected(), np.random.default_rng(0)).observation


@pytest.mark.parametrize("eps", [None, 1e-5])
def test_rows_of_tokens_give_the_same_as_their_ids(eps, model):
    model = nn.Sequential(Embedding(VOCABULARY, LENGTH, WIDTH, eps=eps), *model[1:]).eval()
    embedding = model[0]
    ids = torch.tensor([[5, 9, 3, 0, 0, 0], [1, 1, 2, 8, 7, 29]])
    rows = embedding.token(ids) * ids.ne(0).unsqueeze(2)
    observation = update(model, [5, 9, 3], [1, 1, 2, 8, 7, 29])
    found = Replay(observation, CPU, embedded=True)(rows, torch.eye(CLASSES)[:2], {})
    assert {*observation.update} - {*found} == {"0.token.weight"}
    for name, value in found.items():
        torch.testing.assert_close(value, observation.update[name], atol=1e-6, rtol=1e-4)


def test_the_length_of_the_longest_sentence_is_read_off(model, view):
    assert [longest(update(model, *s), view, "x") for s in ([[5, 9, 3]], [[5], [1, 2, 8, 7]])] == [3, 4]


@pytest.mark.parametrize(
    "attack",
    [TAG(iterations=120), LAMP(iterations=100, candidates=4, every=40, orders=8, language_epochs=1)],
    ids=["tag", "lamp"],
)
def test_a_sentence_comes_back(attack, model, view):
    said = [[5, 6, 7, 8], [2, 3, 4]]
    found = attack.invert(view, [update(model, s) for s in said])
    right = [
        sum(a == b for a, b in zip(r.inputs[0].tolist(), s, strict=False)) for r, s in zip(found, said, strict=True)
    ]
    assert sum(right) >= 6
    assert found[1].inputs[0, 3:].tolist() == [0, 0, 0]
    assert found[0].labels.tolist() == [0]


def test_a_language_model_of_the_attackers_own_sentences_tells_their_order(view):
    unlikely = language_model(view, 6)
    right, wrong = torch.tensor([[4, 5, 6, 7, 8, 9]]), torch.tensor([[7, 4, 9, 5, 8, 6]])
    assert unlikely(right) < unlikely(wrong) - 1
    with pytest.raises(ConfigError, match="trained on the attacker's own sentences"):
        language_model(replace(view, auxiliary=view.auxiliary.take(0)), 1)


def test_every_other_order_has_the_same_places():
    random = torch.Generator().manual_seed(0)
    for length in (2, 5):
        for kind in range(40):
            assert sorted(moved(length, kind, random).tolist()) == list(range(length))
    assert len({tuple(moved(5, kind, random).tolist()) for kind in range(40)}) > 10


def test_of_orders_whose_updates_are_as_near_the_likely_one_is_taken(model):
    table = model[0].token.weight
    unlikely = lambda ids: (ids[:, 1:] < ids[:, :-1]).sum(1).float()  # noqa: E731 - ascending ids are likely
    prior = Ordered(table, 1, 4, LENGTH, unlikely, candidates=1, weight=1.0, every=1, first=0, orders=60)
    ids = torch.tensor([[9, 2, 14, 5]])
    parameters = {"rows": (table[ids] / prior._unit).detach()[None]}
    random = [torch.Generator().manual_seed(0)]
    for _ in range(4):
        prior.rearrange(parameters, random, lambda k, others: torch.zeros(len(others["rows"])))
    assert prior.read({"rows": parameters["rows"][0]})[0].tolist() == [2, 5, 9, 14, 0, 0]


def test_the_best_of_several_beginnings_is_taken(model):
    prior = Ordered(model[0].token.weight, 1, 4, LENGTH, len, candidates=9, weight=0, every=1, first=0, orders=1)
    random = torch.Generator().manual_seed(0)
    parameters = {"rows": prior.begin({}, random)["rows"][None]}
    cost = lambda k, others: others["rows"][:, 0, 0, 0]  # noqa: E731
    before = float(cost(0, parameters)[0])
    prior.rearrange(parameters, [random], cost)
    assert float(cost(0, parameters)[0]) < before


def test_rows_that_are_too_long_are_unlikely(model):
    prior = Sentences(model[0].token.weight, 2, 3, LENGTH, scaled=True)
    begun = prior.begin({}, torch.Generator().manual_seed(0))
    assert prior.penalty(begun) < 1e-6
    assert prior.penalty({"rows": 2 * begun["rows"]}).item() == pytest.approx(1.0, rel=1e-4)


def test_what_is_no_sentence_is_refused_and_so_is_a_search_of_pixels(model, view):
    observation = update(model, [5, 9, 3])
    with pytest.raises(ConfigError, match="take an attack on sentences: dager, tag or lamp"):
        InvertingGradients(iterations=1).invert(view, [observation])
    with pytest.raises(ConfigError, match="TAG searches the tokens of sentences"):
        TAG().invert(replace(view, input=image_spec(1, 4, 4)), [observation])
