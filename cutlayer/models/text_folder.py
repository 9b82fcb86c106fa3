"""A folder with a language model as Hugging Face lays it out: config.json, model.safetensors, tokenizer.json.

Nothing is downloaded, and no code of the folder runs. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cutlayer.bounded import MOST_JSON_BYTES, opened, read_json, read_text, reason
from cutlayer.data.text import Tokenizer
from cutlayer.errors import ConfigError
from cutlayer.models.packaged import PACKAGED, folder_of
from cutlayer.own import IN_FOLDER, in_folder
from cutlayer.spec import TensorSpec, token_spec

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
POOLING = "1_Pooling/config.json"
"""How a sentence transformer makes one vector of those of all tokens."""
MODULES = "modules.json"
LENGTH = 64
"""The greatest length of a sequence where none is stated: attacks hold what arrives at this length."""
_MOST_WIDTH, _MOST_LAYERS, _MOST_PLACES, _MOST_TOKENS = 16_384, 256, 1 << 17, 1 << 20


@dataclass(frozen=True)
class Shape:
    """The sizes of a model.

    Attributes:
        kind: What `config.json` calls it: bert, roberta, distilbert or gpt2.
        width: Numbers of a token.
        heads: Heads of the attention.
        layers: Number of blocks.
        inner: Numbers of a token inside the layer of a block.
        places: Greatest length of a sequence.
        skipped: Rows of the file's table of places before that of the first token.
        vocabulary: Tokens in the file's table of tokens.
        eps: What a normalization adds to the variance.
        activation: The function inside the layer, as `config.json` calls it.
    """

    kind: str
    width: int
    heads: int
    layers: int
    inner: int
    places: int
    skipped: int
    vocabulary: int
    eps: float
    activation: str

    @property
    def causal(self) -> bool:
        """Whether each token sees only those before it."""
        return self.kind == "gpt2"


_BERT = {
    "width": "hidden_size", "heads": "num_attention_heads", "layers": "num_hidden_layers",
    "inner": "intermediate_size", "places": "max_position_embeddings", "activation": "hidden_act",
    "eps": "layer_norm_eps",
}  # fmt: skip
_KEYS: dict[str, dict[str, str]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert"), _BERT),
    "distilbert": {
        "width": "dim", "heads": "n_heads", "layers": "n_layers", "inner": "hidden_dim",
        "places": "max_position_embeddings", "activation": "activation",
    },
    "gpt2": {
        "width": "n_embd", "heads": "n_head", "layers": "n_layer", "inner": "n_inner", "places": "n_positions",
        "activation": "activation_function", "eps": "layer_norm_epsilon",
    },
}  # fmt: skip
"""What `config.json` calls the sizes, by the kind of model."""
_DEFAULT_EPS = {"gpt2": 1e-5}
_UNUSUAL: dict[str, object] = {
    "position_embedding_type": "absolute", "is_decoder": False, "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "sinusoidal_pos_embds": False,
}  # fmt: skip
"""Settings that change what a block computes, and the only value of each that is read."""


@dataclass(frozen=True)
class TextFolder:
    """A folder with a language model, opened.

    Attributes:
        path: The folder.
        config: The content of `config.json`.
    """

    path: Path
    config: Mapping[str, Any]

    @cached_property
    def shape(self) -> Shape:
        """The sizes of the model, each within bounds."""
        kind = self.config.get("model_type")
        if kind not in _KEYS:
            raise ConfigError(
                f"{self.path} holds a model of the type {kind!r:.40}; models of the types {', '.join(_KEYS)} are read."
            )
        for key, value in _UNUSUAL.items():
            if self.config.get(key, value) != value:
                raise self._refused(f"{key} is {self.config[key]!r:.40}, and only {value!r} is read")
        keys = _KEYS[kind]
        width, layers = self._whole(keys["width"], _MOST_WIDTH), self._whole(keys["layers"], _MOST_LAYERS)
        heads = self._whole(keys["heads"], width)
        if width % heads:
            raise self._refused(f"{keys['width']} is {width}, which {heads} heads do not divide")
        inner = self._whole(keys["inner"], 8 * _MOST_WIDTH) if self.config.get(keys["inner"]) else 4 * width
        skipped = self._whole("pad_token_id", 16, 0) + 1 if kind in ("roberta", "xlm-roberta", "camembert") else 0
        eps = self.config.get(keys.get("eps", ""), _DEFAULT_EPS.get(kind, 1e-12))
        if not isinstance(eps, float | int) or not 0 < eps < 1:
            raise self._refused(f"{keys.get('eps')} is {eps!r:.40}, and a number between 0 and 1 is expected")
        places = self._whole(keys["places"], _MOST_PLACES, skipped + 1) - skipped
        vocabulary = self._whole("vocab_size", _MOST_TOKENS, 2)
        activation = str(self.config.get(keys["activation"], "gelu"))
        return Shape(kind, width, heads, layers, inner, places, skipped, vocabulary, float(eps), activation)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What makes tokens of text for this model."""
        path = self.path / TOKENIZER
        try:
            tokenizer = Tokenizer(read_text(path, MOST_JSON_BYTES), str(path))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path} cannot be read: {reason(error)}. A model of Hugging Face layout needs its tokenizer as "
                f"{TOKENIZER}; write it with save_pretrained of the tokenizer where the model comes from."
            ) from None
        if tokenizer.size > self.shape.vocabulary + tokenizer.shift:
            raise ConfigError(
                f"{path} does not fit the model: it has {tokenizer.size - tokenizer.shift:,} tokens, and the model "
                f"{self.shape.vocabulary:,}; take the tokenizer that came with the model."
            )
        return tokenizer

    @property
    def input(self) -> TensorSpec:
        """What the model takes where no length is stated."""
        return token_spec(min(LENGTH, self.shape.places), self.tokenizer.size)

    @cached_property
    def pooling(self) -> str:
        """How one vector is made of those of all tokens: mean, cls, max or lasttoken."""
        if not (self.path / POOLING).exists():
            return "lasttoken" if self.shape.causal else "mean"
        stated = self._json(POOLING)
        chosen = [key for key, value in stated.items() if key.startswith("pooling_mode_") and value is True]
        known = {f"pooling_mode_{how}{end}": how for how, end in _POOLINGS}
        if len(chosen) != 1 or chosen[0] not in known:
            raise ConfigError(
                f"{self.path / POOLING} states {', '.join(chosen) or 'no way of pooling'}; one of "
                f"{', '.join(known)} is read."
            )
        return known[chosen[0]]

    @cached_property
    def normalized(self) -> bool:
        """Whether the vector of a sentence is divided by its length."""
        if not (self.path / MODULES).exists():
            return False
        stated = self._json(MODULES)
        kinds = [str(entry.get("type", "")).rpartition(".")[2] for entry in stated if isinstance(entry, dict)]
        if unknown := [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]:
            raise ConfigError(
                f"{self.path / MODULES} names a module {unknown[0]!r:.40}; Transformer, Pooling and Normalize are read."
            )
        return "Normalize" in kinds

    def _json(self, name: str) -> Any:
        try:
            return read_json(self.path / name)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.path / name} cannot be read: {reason(error)}; copy the folder again.") from None

    def _whole(self, key: str, most: int, least: int = 1) -> int:
        value = self.config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._refused(f"{key} is {value!r:.40}, and a whole number from {least} to {most:,} is expected")
        return value

    def _refused(self, what: str) -> ConfigError:
        return ConfigError(f"{self.path / CONFIG} is of no model that is read here: {what}.")


_POOLINGS = (("cls", "_token"), ("mean", "_tokens"), ("max", "_tokens"), ("lasttoken", ""))


def open_folder(place: str) -> TextFolder:
    """The model at a place, the part of its name behind `IN_FOLDER`.

    Raises:
        ConfigError: There is no such folder, or it lacks a file, or its model is of a kind that is not read.
    """
    path = Path(place).expanduser()
    if not path.is_dir() and place in PACKAGED:
        path = folder_of(place)
    missing = [name for name in (CONFIG, WEIGHTS) if not (path / name).is_file()]
    if not path.is_dir():
        raise ConfigError(
            f"There is no folder {path}; {IN_FOLDER}FOLDER names a folder with {CONFIG}, {WEIGHTS} and {TOKENIZER}, as "
            f"Hugging Face lays out a model, or one of {', '.join(PACKAGED)}. Nothing is downloaded."
        )
    if missing:
        also = (
            "; weights in another format are not read, since loading those may run code" if WEIGHTS in missing else ""
        )
        raise ConfigError(f"{path} lacks {' and '.join(missing)}{also}.")
    try:
        config = read_json(path / CONFIG)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path / CONFIG} cannot be read: {reason(error)}; copy the folder again.") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path / CONFIG} holds no table; copy the folder again.")
    return TextFolder(path, config)


def tokenizer_of(model: str) -> Tokenizer | None:
    """The tokenizer of a model by its name; None for one that has none of its own."""
    return open_folder(place).tokenizer if (place := in_folder(model)) else None


def identity(place: str) -> str:
    """A hash over the files that determine the model, in hex: the same model, the same hash, wherever it lies."""
    path = open_folder(place).path
    files = [path / name for name in (CONFIG, WEIGHTS, TOKENIZER, POOLING, MODULES) if (path / name).is_file()]
    return _hash(tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@cache
def _hash(listing: tuple[tuple[str, int, int], ...]) -> str:
    digests = []
    for name, _, _ in listing:
        with opened(Path(name)) as file:
            digests.append([Path(name).name, hashlib.file_digest(file, "sha256").hexdigest()])
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()
