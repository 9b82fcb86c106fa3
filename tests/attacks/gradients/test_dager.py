"""Tokens read off a transformer's gradient: A25."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cutlayer.attacks.gradients.client import observed
from cutlayer.attacks.gradients.dager import Dager
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.data.splits import Dataset
from cutlayer.defenses.updates.none import Unprotected
from cutlayer.errors import ConfigError
from cutlayer.nets.transformer import Transformer
from cutlayer.spec import TensorSpec, image_spec

VOCABULARY, LENGTH, CLASSES = 200, 16, 4
NOTHING = Dataset(np.zeros((0, LENGTH), np.float32), np.zeros(0, np.int64))
VIEW = UpdateView(input=TensorSpec((LENGTH,), "int64", 0, VOCABULARY - 1), classes=CLASSES, auxiliary=NOTHING)


def update(tokens: torch.Tensor, seed: int = 0, width: int = 128) -> Observation:
    """The gradient of sentences in a transformer of random weights."""
    torch.manual_seed(seed)
    model = Transformer(VOCABULARY, LENGTH, CLASSES, width=width).eval()
    labels = torch.arange(len(tokens)) % CLASSES
    return observed(model, tokens, labels, Unprotected(), np.random.default_rng(0)).observation


def drawn(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCABULARY, (n, LENGTH), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", [0, 1])
def test_a25_a_batch_of_4_sentences_of_16_tokens_is_found_exactly(seed):
    tokens = drawn(4, seed)
    (found,) = Dager().invert(VIEW, [update(tokens, seed)])
    assert sorted(found.inputs.long().tolist()) == sorted(tokens.tolist())


def test_sentences_that_share_their_beginning_and_repeat_tokens_are_found():
    tokens = drawn(3)
    tokens[1, :6], tokens[2, 3:9] = tokens[0, :6], 7
    (found,) = Dager().invert(VIEW, [update(tokens)])
    assert sorted(found.inputs.long().tolist()) == sorted(tokens.tolist())


def test_more_tokens_than_the_layer_is_wide_and_noise_are_refused():
    with pytest.raises(ConfigError, match=r"fewer tokens in a batch than the layer blocks\.0\.attention is wide, 32"):
        Dager().invert(VIEW, [update(drawn(4), width=32)])
    observation = update(drawn(1))
    noisy = {name: g + 1e-3 * torch.randn_like(g) for name, g in observation.update.items()}
    with pytest.raises(ConfigError, match="A defense that adds noise"):
        Dager().invert(VIEW, [replace(observation, update=noisy)])


def test_a_model_without_attention_is_refused():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4))
    observation = observed(
        model, torch.rand(1, 1, 4, 4), torch.tensor([0]), Unprotected(), np.random.default_rng(0)
    ).observation
    with pytest.raises(ConfigError, match="the first two attention layers"):
        Dager().invert(replace(VIEW, input=image_spec(1, 4, 4)), [observation])
