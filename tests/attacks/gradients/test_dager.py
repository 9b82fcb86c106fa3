"""Sentences read off a language model's gradient: A25."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cutlayer.attacks.gradients.client import observed
from cutlayer.attacks.gradients.dager import Dager
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.data.modality import tokens as token_modality
from cutlayer.data.splits import Dataset
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.errors import ConfigError
from cutlayer.models.text_transformer import text_gpt, text_transformer
from cutlayer.spec import image_spec, token_spec

VOCABULARY, LENGTH, CLASSES = 200, 16, 4
SPEC = token_spec(LENGTH, VOCABULARY)
NOTHING = Dataset(np.zeros((0, LENGTH), np.int64), np.zeros(0, np.int64), token_modality(VOCABULARY))
VIEW = UpdateView(input=SPEC, classes=CLASSES, auxiliary=NOTHING)


def update(tokens: torch.Tensor, seed: int = 0, make=text_gpt) -> Observation:
    """The gradient of sentences in a model of random weights."""
    torch.manual_seed(seed)
    labels = torch.arange(len(tokens)) % CLASSES
    return observed(
        make(SPEC, CLASSES).eval(), tokens, labels, Unprotected(), np.random.default_rng(0)
    ).observation  # fmt: skip


def drawn(n: int, seed: int = 0, least: int = LENGTH) -> torch.Tensor:
    """Sentences of `least` to 16 tokens."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, VOCABULARY, (n, LENGTH), generator=random)
    length = torch.linspace(least, LENGTH, n).long()
    return torch.where(torch.arange(LENGTH) < length[:, None], tokens, 0)


@pytest.mark.parametrize("seed", [0, 1])
def test_a25_a_batch_of_4_sentences_of_16_tokens_is_found_exactly(seed):
    tokens = drawn(4, seed)
    (found,) = Dager().invert(VIEW, [update(tokens, seed)])
    assert sorted(found.inputs.tolist()) == sorted(tokens.tolist())


def test_sentences_of_several_lengths_that_share_their_beginning_and_repeat_tokens_are_found():
    tokens = drawn(5, least=3)
    tokens[1, :2], tokens[3, 3:9] = tokens[0, :2], 7
    (found,) = Dager().invert(VIEW, [update(tokens)])
    assert sorted(found.inputs.tolist()) == sorted(tokens.tolist())


@pytest.mark.parametrize("n", [1, 2])
def test_sentences_are_found_where_each_token_sees_all_others(n):
    tokens = drawn(n, least=7)
    (found,) = Dager().invert(VIEW, [update(tokens, make=text_transformer)])
    assert sorted(found.inputs.tolist()) == sorted(tokens.tolist())


def test_more_tokens_than_the_layer_is_wide_and_noise_are_refused():
    with pytest.raises(ConfigError, match=r"fewer tokens in a batch than the layer block2\.qkv is wide, 128"):
        Dager().invert(VIEW, [update(drawn(9))])
    observation = update(drawn(1))
    noisy = {name: g + 1e-3 * torch.randn_like(g) for name, g in observation.update.items()}
    with pytest.raises(ConfigError, match="A defense that adds noise"):
        Dager().invert(VIEW, [replace(observation, update=noisy)])


def test_an_update_that_cannot_be_read_does_not_stop_the_others(caplog):
    tokens = drawn(1)
    found = Dager().invert(VIEW, [update(tokens), update(drawn(9))])
    assert found[0].inputs.tolist() == tokens.tolist()
    assert found[1].inputs.shape == (9, LENGTH)
    assert not found[1].inputs.any()
    assert "reads nothing of 1 of 2 updates" in caplog.text


def test_a_model_without_attention_is_refused():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4))
    observation = observed(
        model, torch.rand(1, 1, 4, 4), torch.tensor([0]), Unprotected(), np.random.default_rng(0)
    ).observation
    with pytest.raises(ConfigError, match="this model has no table of tokens"):
        Dager().invert(replace(VIEW, input=image_spec(1, 4, 4)), [observation])
