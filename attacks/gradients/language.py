"""The parts of a language model that attacks on its updates use, found by their kinds, for a model may be traced.

An update tells the words of a batch without any search: the rows of the gradient of the table that are not zero are
those of its tokens. The attacks here leave that gradient out, as those of the literature do, for it is not sent where
the table is not trained.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.errors import ConfigError


class Given(nn.Module):
    """Stands in the place of a table of tokens, and returns rows that are given whatever the ids are."""

    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(()))

    def forward(self, ids: Tensor) -> Tensor:
        """``(N, T, width)``: the rows, of which there are as many as ids."""
        return self.rows


def table_of(model: nn.Module, attack: str) -> tuple[str, nn.Embedding]:
    """The table of the tokens of a language model, and its name.

    Args:
        model: The model.
        attack: What needs it, as the subject of the message.

    Raises:
        ConfigError: The model has none.
    """
    return _tables(model, attack)[0]


def attentions_of(model: nn.Module, attack: str) -> list[str]:
    """Names of the layers that give queries, keys and values, from the input on; at least two.

    Raises:
        ConfigError: The model has fewer.
    """
    names = [name for name, layer in model.named_modules() if name.endswith("qkv") and isinstance(layer, nn.Linear)]
    if len(names) < 2:
        raise ConfigError(f"{attack} needs two layers of attention, and this model has fewer.")
    return names


def longest(observation: Observation, view: UpdateView, attack: str) -> int:
    """Tokens of the longest sentence of an update, which the gradient of the places tells; at least 1."""
    _, *others = _tables(observation.model, attack)
    if not others:
        return view.input.shape[0]
    places = torch.as_tensor(observation.update[f"{others[0][0]}.weight"]).ne(0).any(1)
    last = int(places.nonzero().max()) + 1 if places.any() else 1
    return min(last, view.input.shape[0])


def _tables(model: nn.Module, attack: str) -> list[tuple[str, nn.Embedding]]:
    """The table of the tokens, and that of their places where there is one."""
    found = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Embedding)]
    if not found:
        raise ConfigError(
            f"{attack} reads sentences off the gradients of a language model, and this model has no table of tokens; "
            "take text_transformer, text_gpt or a folder of Hugging Face layout, hf/FOLDER."
        )
    return found
