"""Language models in folders as Hugging Face lays them out: encoders such as BERT, decoders such as GPT-2.

The blocks are those of `cutlayer.models.text_transformer`, filled with the weights of the folder, so that the rule for
padding holds: a row of zeros is no token. They are called ``layer1``, ``layer2``, ...

What the tail answers depends on the number of classes. Where none is asked for, it is what the folder was trained for:
the logits of a classifier that it holds; else of an encoder the vector of a sentence, and of a decoder the logits of
the next token. The number of these, asked for, gives the same. Any other number gives the logits of a linear classifier
of the vector, which is yet to be trained.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.errors import ConfigError
from cutlayer.models.graph import reason
from cutlayer.models.text_folder import WEIGHTS, Shape, TextFolder, open_folder
from cutlayer.models.text_transformer import Block, Embedding, Last, Mean, present
from cutlayer.spec import TensorSpec

Weights = Mapping[str, Tensor]
Filled = dict[str, Tensor]
Parts = dict[str, tuple[str, ...]]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}

_BERT_BLOCK: Parts = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "out": ("attention.output.dense",),
    "norm1": ("attention.output.LayerNorm",),
    "grow": ("intermediate.dense",),
    "shrink": ("output.dense",),
    "norm2": ("output.LayerNorm",),
}
_DISTILBERT_BLOCK: Parts = {
    "qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    "out": ("attention.out_lin",),
    "norm1": ("sa_layer_norm",),
    "grow": ("ffn.lin1",),
    "shrink": ("ffn.lin2",),
    "norm2": ("output_layer_norm",),
}
_GPT2_BLOCK: Parts = {
    "qkv": ("attn.c_attn",),
    "out": ("attn.c_proj",),
    "norm1": ("ln_1",),
    "grow": ("mlp.c_fc",),
    "shrink": ("mlp.c_proj",),
    "norm2": ("ln_2",),
}
_BLOCKS: dict[str, tuple[str, Parts]] = {
    "gpt2": ("h", _GPT2_BLOCK),
    "distilbert": ("transformer.layer", _DISTILBERT_BLOCK),
}
"""Where the file has the parts of a block, and what it calls them, by the kind of model; BERT's where none is named."""


class Classifier(NamedTuple):
    """What a file calls the layers of a classifier of the first token: an inner layer or none, its function, the last.

    Of a decoder it is a classifier of the last token.
    """

    inner: str
    activation: type[nn.Module]
    last: str


_CLASSIFIERS = {
    "bert": Classifier("pooler.dense", nn.Tanh, "classifier"),
    "distilbert": Classifier("pre_classifier", nn.ReLU, "classifier"),
    "gpt2": Classifier("", nn.Identity, "score"),
    **dict.fromkeys(
        ("roberta", "xlm-roberta", "camembert"), Classifier("classifier.dense", nn.Tanh, "classifier.out_proj")
    ),
}


class First(nn.Module):
    """The row of the first token, ``(N, T, width)`` to ``(N, width)``."""

    def forward(self, rows: Tensor) -> Tensor:
        """Take the first row."""
        return rows[:, 0]


class Norm(nn.LayerNorm):
    """A normalization of each row, ``(N, T, width)`` to the same, that leaves rows of zeros."""

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows to rows."""
        return super().forward(rows) * present(rows)


class Greatest(nn.Module):
    """The greatest of each number over the tokens, ``(N, T, width)`` to ``(N, width)``."""

    def forward(self, rows: Tensor) -> Tensor:
        """Leave out rows of zeros."""
        return rows.masked_fill(present(rows).eq(0), -1e4).amax(1)


class Unit(nn.Module):
    """Vectors of length 1, ``(N, width)`` to the same."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Divide each vector by its length."""
        return functional.normalize(vectors, dim=1)


_POOLS: dict[str, type[nn.Module]] = {"mean": Mean, "cls": First, "max": Greatest, "lasttoken": Last}


def hugging_face(place: str) -> Callable[..., nn.Module]:
    """The function that makes the model in a folder: ``hf/all-MiniLM-L6-v2`` names the folder all-MiniLM-L6-v2.

    Raises:
        ConfigError: There is no such folder, or its model is of a kind that is not read.
    """
    folder = open_folder(place)

    def make(input: TensorSpec = folder.input, classes: int | None = None) -> nn.Module:
        return _made(folder, input, classes)

    return make


SCORES = ("classifier", "next")
"""The last layer of a model that scores classes or the next token, one of these."""


def gives_vectors(model: nn.Module) -> bool:
    """Whether a model of a folder, or its second half, answers with vectors, and not with scores."""
    return not any(name in SCORES for name, _ in model.named_children())


def _made(folder: TextFolder, input: TensorSpec, classes: int | None) -> nn.Module:
    """The model, with the weights of the folder, for sequences of at most the length of the input."""
    shape, tokenizer = folder.shape, folder.tokenizer
    if not input.is_tokens:
        raise ConfigError(f"{folder.path} takes the ids of tokens; name data that are text with --data.")
    if input.shape[0] > shape.places:
        raise ConfigError(
            f"{folder.path} has places for {shape.places:,} tokens, and sequences of {input.shape[0]:,} are asked for; "
            f"state at most {shape.places:,} with --input."
        )
    if int(input.high or 0) + 1 != tokenizer.size:
        raise ConfigError(
            f"The ids are those of another tokenizer, from 0 to {int(input.high or 0):,}; {folder.path} takes 0 to "
            f"{tokenizer.size - 1:,}: make them with {tokenizer.source}."
        )
    if shape.activation not in _ACTIVATIONS:
        raise ConfigError(
            f"{folder.path} has the activation {shape.activation!r:.40}; {', '.join(_ACTIVATIONS)} are read."
        )
    weights = _read(folder)
    eps = None if shape.causal else shape.eps
    layers: list[tuple[str, nn.Module]] = [
        ("embedding", Embedding(tokenizer.size, input.shape[0], shape.width, eps)),
        *((f"layer{i + 1}", _block(shape)) for i in range(shape.layers)),
    ]
    filled = _embedding(shape, weights, tokenizer.shift, tokenizer.size, input.shape[0])
    for i in range(shape.layers):
        filled |= _filled_block(shape, weights, i)
    if shape.causal:
        layers.append(("norm", Norm(shape.width, eps=shape.eps)))
        filled |= _pair("norm", weights, "ln_f")
    end, more = _end(folder, weights, classes)
    layers, filled = layers + end, filled | more
    model = nn.Sequential(OrderedDict(layers))
    expected = model.state_dict()
    for name, tensor in filled.items():
        if tensor.shape != expected[name].shape:
            given, wanted = ("x".join(map(str, each)) for each in (tensor.shape, expected[name].shape))
            raise ConfigError(
                f"{folder.path / WEIGHTS} does not fit its config.json: {name} is {given} there, and {wanted} by "
                "config.json; copy the folder again."
            )
    model.load_state_dict(expected | filled)
    return model


def _end(folder: TextFolder, weights: Weights, classes: int | None) -> tuple[list[tuple[str, nn.Module]], Filled]:
    """What makes an answer of the rows of all tokens."""
    shape = folder.shape
    own = _CLASSIFIERS.get(shape.kind, _CLASSIFIERS["bert"])
    kept = weights.get(f"{own.last}.weight")
    if kept is not None and classes in (None, len(kept)):
        layers: list[tuple[str, nn.Module]] = [("pool", Last() if shape.causal else First())]
        filled: Filled = {}
        if own.inner:
            layers += [("inner", nn.Linear(shape.width, shape.width)), ("activation", own.activation())]
            filled |= _pair("inner", weights, own.inner)
        layers.append(("classifier", nn.Linear(shape.width, len(kept), bias=not shape.causal)))
        last = {"classifier.weight": kept} if shape.causal else _pair("classifier", weights, own.last)
        return layers, filled | last
    pool: list[tuple[str, nn.Module]] = [("pool", _POOLS[folder.pooling]())]
    if shape.causal and classes in (None, shape.vocabulary):
        following = {"next.weight": weights.get("lm_head.weight", weights["wte.weight"])}
        return [*pool, ("next", nn.Linear(shape.width, shape.vocabulary, bias=False))], following
    if classes not in (None, shape.width):
        return [*pool, ("classifier", nn.Linear(shape.width, classes or 0))], {}
    return [*pool, ("unit", Unit())] if folder.normalized else pool, {}


def _read(folder: TextFolder) -> Weights:
    """The tensors of the file in float32, without the name of the model before theirs."""
    path, kind = folder.path / WEIGHTS, folder.shape.kind
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as weights: {reason(error)}; copy it again.") from None
    prefix = {"gpt2": "transformer", "xlm-roberta": "roberta", "camembert": "roberta"}.get(kind, kind)
    named = {name.removeprefix(f"{prefix}."): tensor.float() for name, tensor in stored.items()}
    # Older files call the parts of a normalization as TensorFlow does.
    renamed = {
        name.replace(".LayerNorm.gamma", ".LayerNorm.weight").replace(".LayerNorm.beta", ".LayerNorm.bias"): tensor
        for name, tensor in named.items()
    }
    return _Named(renamed, path)


class _Named(dict[str, Tensor]):
    """Tensors by name, and a sentence about one that is missing."""

    def __init__(self, tensors: Weights, path: Path) -> None:
        super().__init__(tensors)
        self._path = path

    def __missing__(self, name: str) -> Tensor:
        raise ConfigError(f"{self._path} has no tensor {name}, which a model of its config.json has; copy it again.")


def _block(shape: Shape) -> Block:
    return Block(
        shape.width, shape.heads, causal=shape.causal, inner=shape.inner, activation=_ACTIVATIONS[shape.activation],
        eps=shape.eps, norm_last=not shape.causal,
    )  # fmt: skip


def _pair(ours: str, weights: Weights, *theirs: str, transposed: bool = False) -> Filled:
    """Weight and bias of a layer, which may be several in the file."""
    weight = torch.cat([weights[f"{name}.weight"].T if transposed else weights[f"{name}.weight"] for name in theirs])
    return {f"{ours}.weight": weight, f"{ours}.bias": torch.cat([weights[f"{name}.bias"] for name in theirs])}


def _embedding(shape: Shape, weights: Weights, shift: int, size: int, length: int) -> Filled:
    token, place, norm = (
        ("wte", "wpe", "")
        if shape.causal
        else (f"embeddings.{name}" for name in ("word_embeddings", "position_embeddings", "LayerNorm"))
    )
    rows = weights[f"{token}.weight"]
    # The id 0 stands for no token.
    table = torch.cat([torch.zeros(shift, rows.shape[1]), rows])[:size]
    places = weights[f"{place}.weight"][shape.skipped :][:length]
    if (kinds := weights.get("embeddings.token_type_embeddings.weight")) is not None:
        places = places + kinds[0]
    filled = {"embedding.token.weight": table, "embedding.place.weight": places}
    return filled | (_pair("embedding.norm", weights, norm) if norm else {})


def _filled_block(shape: Shape, weights: Weights, number: int) -> Filled:
    where, names = _BLOCKS.get(shape.kind, ("encoder.layer", _BERT_BLOCK))
    filled: Filled = {}
    for ours, theirs in names.items():
        # GPT-2's layers have their weights the other way round.
        transposed = shape.causal and not ours.startswith("norm")
        inside = (f"{where}.{number}.{name}" for name in theirs)
        filled |= _pair(f"layer{number + 1}.{ours}", weights, *inside, transposed=transposed)
    return filled
