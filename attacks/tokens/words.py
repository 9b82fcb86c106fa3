"""Vectors for all tokens of a vocabulary, as far as an attacker has or can get them.

``model``: the word embeddings of the head, which a white-box attacker holds; so does anybody where the weights are
public. ``asked``: what arrives when each token is sent as a sentence of its own, for queries alone. ``none``: random
vectors of length 1, which keep the tokens apart and say nothing of those that the attacker has never sent.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from cutlayer.attacks.queries import CHUNK
from cutlayer.attacks.tokens.pairs import present, vocabulary
from cutlayer.attacks.view import Access, View
from cutlayer.errors import ConfigError
from cutlayer.sequences import PAD

MODEL, ASKED, NONE = "model", "asked", "none"
WORDS = (MODEL, ASKED, NONE)
WIDTH = 384
"""Numbers of a random vector."""
TRIED = 8
"""Tokens by which the embedding of the words is told from others, such as that of the places."""


def check(name: str, words: str) -> None:
    """Refuse an unknown value of the option `words`.

    Raises:
        ConfigError: It is none of `WORDS`.
    """
    if words not in WORDS:
        raise ConfigError(f"{name}.words must be one of {', '.join(WORDS)}, not {words!r:.80}.")


def access(words: str) -> Access:
    """What an attacker needs to get these vectors."""
    return Access.WHITE_BOX if words == MODEL else Access.BLACK_BOX


def vectors(words: str, view: View) -> Tensor:
    """The vector of each token, ``(vocabulary, width)``, that of `PAD` among them.

    Raises:
        ConfigError: The head embeds no tokens.
    """
    if words == MODEL:
        return view.kept(("words", words), lambda: embedding(view.head, vocabulary(view), view.device))
    if words == ASKED:
        return view.kept(("words", words), lambda: _asked(view))
    generator = torch.Generator().manual_seed(view.seed)
    drawn = torch.randn(vocabulary(view), WIDTH, generator=generator)
    return torch.nn.functional.normalize(drawn).to(view.device)


def frame(view: View) -> tuple[list[int], list[int]]:
    """The marks before and behind each sentence, as the attacker's own sentences have them."""
    inputs = view.auxiliary.inputs
    # The token of unknown words counts as no word either, and yet stands where such a word was said.
    marks = {mark for mark in view.auxiliary.modality.marks if (inputs == mark).any(1).all()}
    sentence = [int(i) for i in inputs[0] if i != PAD]
    first = next((i for i, word in enumerate(sentence) if word not in marks), 0)
    last = next((i for i, word in enumerate(reversed(sentence)) if word not in marks), 0)
    return sentence[:first], sentence[len(sentence) - last :]


def _asked(view: View) -> Tensor:
    """What arrives for each token in a sentence of its own."""
    before, behind = frame(view)
    found: list[Tensor] = []
    for part in torch.arange(vocabulary(view)).split(CHUNK):
        ids = torch.full((len(part), *view.input.shape), PAD)
        whole = torch.cat([torch.tensor(before * len(part)).long().view(len(part), -1), part[:, None]], 1)
        whole = torch.cat([whole, torch.tensor(behind * len(part)).long().view(len(part), -1)], 1)
        kept = whole[:, : ids.shape[1]]
        ids[:, : kept.shape[1]] = kept
        arrived = view.query(ids.to(view.device))
        place = min(len(before), arrived.shape[1] - 1)
        found.append(arrived[:, place].flatten(1) * present(arrived)[:, place, None])
    return torch.cat(found)


class _Found(Exception):
    """The words are embedded; the rest of the head need not compute."""


def embedding(head: nn.Module, size: int, device: torch.device) -> Tensor:
    """The word embeddings of a head, ``(size, width)``, by what its embedding layers give for each id.

    Raises:
        ConfigError: None of its embedding layers tells the tokens apart.
    """
    head = copy.deepcopy(head).to(device).eval()
    given: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda layer, _, out: given.append((layer, out)))
        for module in head.modules()
        if isinstance(module, nn.Embedding)
    ]
    with torch.no_grad():
        head(torch.arange(1, min(size, TRIED + 1), device=device)[:, None])
        for hook in hooks:
            hook.remove()
        layers = [layer for layer, out in given if len(out) > 1 and bool((out[0] != out[1]).any())]
        if not layers:
            raise ConfigError(
                "The head embeds no tokens, so that it has no word vectors; set words to asked or none in its place."
            )
        return torch.cat([_through(head, layers[0], part) for part in torch.arange(size, device=device).split(CHUNK)])


def _through(head: nn.Module, layer: nn.Module, ids: Tensor) -> Tensor:
    """What a layer gives for each id."""
    given: list[Tensor] = []

    def stop(_: nn.Module, __: Any, out: Tensor) -> None:
        given.append(out.flatten(1))
        raise _Found

    hook = layer.register_forward_hook(stop)
    try:
        head(ids[:, None])
    except _Found:
        pass
    finally:
        hook.remove()
    return given[0]
