"""Small language models in folders, laid out as Hugging Face does, with random weights under the names of each kind."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTH, HEADS, LAYERS, INNER, PLACES = 16, 4, 2, 24, 12
WORDS = ("the", "patient", "has", "a", "fever", "since", "monday", "no")

BERT = {
    "model_type": "bert", "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
    "intermediate_size": INNER, "max_position_embeddings": PLACES, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}  # fmt: skip
GPT2 = {
    "model_type": "gpt2", "n_embd": WIDTH, "n_head": HEADS, "n_layer": LAYERS, "n_positions": PLACES,
    "n_inner": INNER, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
}  # fmt: skip


def bert_folder(folder: Path, labels: int = 0, **changes: object) -> Path:
    """A BERT of two layers, whose tokenizer puts [CLS] before and [SEP] behind each text.

    Args:
        folder: The folder to write.
        labels: Classes of its own classifier; it has none if 0.
        changes: Entries of its `config.json` that are other ones.
    """
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    shapes = {"embeddings.word_embeddings.weight": (len(words), WIDTH)}
    shapes |= {"embeddings.position_embeddings.weight": (PLACES, WIDTH)}
    shapes |= {"embeddings.token_type_embeddings.weight": (2, WIDTH)}
    shapes |= _norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _linear(f"{at}.attention.{name}", WIDTH, WIDTH)
        shapes |= _norm(f"{at}.attention.output.LayerNorm") | _norm(f"{at}.output.LayerNorm")
        shapes |= _linear(f"{at}.intermediate.dense", WIDTH, INNER) | _linear(f"{at}.output.dense", INNER, WIDTH)
    shapes |= _linear("pooler.dense", WIDTH, WIDTH) | (_linear("classifier", WIDTH, labels) if labels else {})
    return _written(folder, BERT | {"vocab_size": len(words)} | changes, _random(shapes), words)


def gpt2_folder(folder: Path, **changes: object) -> Path:
    """A GPT-2 of two layers, whose vocabulary has a word at the id 0."""
    shapes = {"wte.weight": (len(WORDS), WIDTH), "wpe.weight": (PLACES, WIDTH)} | _norm("ln_f")
    for i in range(LAYERS):
        shapes |= _norm(f"h.{i}.ln_1") | _norm(f"h.{i}.ln_2")
        for name, inputs, outputs in (
            ("attn.c_attn", WIDTH, 3 * WIDTH), ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, INNER), ("mlp.c_proj", INNER, WIDTH),
        ):  # fmt: skip
            shapes |= {f"h.{i}.{name}.weight": (inputs, outputs), f"h.{i}.{name}.bias": (outputs,)}
    weights = {f"transformer.{name}": tensor for name, tensor in _random(shapes).items()}
    return _written(folder, GPT2 | {"vocab_size": len(WORDS)} | changes, weights, list(WORDS))


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}


def _random(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}


def _written(folder: Path, config: dict[str, object], weights: dict[str, Tensor], words: list[str]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(words)))
    return folder


def tokenizer(words: list[str]) -> dict[str, object]:
    """A tokenizer of whole words."""
    special = [word for word in words if word.startswith("[")]
    around = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    around.append({"SpecialToken": {"id": "[SEP]", "type_id": 0}})
    template = {
        "type": "TemplateProcessing", "single": around, "pair": around,
        "special_tokens": {
            word: {"id": word, "ids": [words.index(word)], "tokens": [word]} for word in special if word != "[PAD]"
        },
    }  # fmt: skip
    added = [
        {"id": words.index(word), "content": word, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for word in special
    ]  # fmt: skip
    model = {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(words)}}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": template if special else None, "decoder": None,
        "model": model | {"unk_token": "[UNK]" if special else words[0]},
    }  # fmt: skip
