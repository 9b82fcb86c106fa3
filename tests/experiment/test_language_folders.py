"""Language models in folders as victims: what is trained, what they answer with, and what is refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import cutlayer
from cutlayer.commands.models import split as split_command
from cutlayer.data.load import load
from cutlayer.data.text import Tokenizer
from cutlayer.errors import ConfigError
from cutlayer.experiment import plan, victim
from cutlayer.experiment.run import loading, run_all
from cutlayer.experiment.spec import Experiment, Training
from cutlayer.models.text_folder import open_folder
from cutlayer.split_folder import open_split
from tests.models.language_folders import WIDTH, WORDS, bert_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bert_folder(tmp_path_factory.mktemp("models") / "little-bert")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Sentences of two classes, each with words of its own."""
    rng, path, rows = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "mine.csv", ["text,label"]
    for name, words in (("ill", WORDS[:4]), ("well", WORDS[4:])):
        rows += [f"{' '.join(rng.choice(words, rng.integers(4, 9)))},{name}" for _ in range(120)]
    path.write_text("\n".join(rows))
    return path


def trained(folder, mine, whole):
    how = Training(epochs=10, lr=1e-2, batch=8, whole=whole)
    experiment = Experiment(str(mine), f"hf/{folder}", "layer1", training=how)
    data = victim.load_data(experiment, None)
    return victim.train(experiment, data, lambda _: None), data


def correct(model, data):
    with torch.no_grad():
        return float((model(torch.from_numpy(data.test.inputs)).argmax(1).numpy() == data.test.labels).mean())


def test_the_classifier_alone_is_trained_unless_all_is_asked_for(folder, mine):
    published = load_file(folder / "model.safetensors")["encoder.layer.0.output.dense.weight"]
    model, data = trained(folder, mine, whole=False)
    assert torch.equal(model.state_dict()["layer1.shrink.weight"], published)
    assert correct(model, data) > 0.8
    model, data = trained(folder, mine, whole=True)
    assert not torch.equal(model.state_dict()["layer1.shrink.weight"], published)
    assert correct(model, data) > 0.8


def test_each_model_of_a_plan_has_the_data_in_tokens_of_its_own(folder):
    read = loading(None)
    ours, theirs = (
        read(Experiment("documentation", model, "")) for model in ("text_transformer", f"hf/{folder}")
    )  # fmt: skip
    assert ours.words == load("documentation").words
    assert theirs.words == open_folder(folder).tokenizer.words != ours.words


def test_the_command_cuts_a_model_of_vectors_for_text_without_labels(folder, mine, tmp_path, capsys, monkeypatch):
    texts = tmp_path / "mine.txt"
    texts.write_text("\n".join(line.partition(",")[0] for line in mine.read_text().splitlines()[1:]))
    monkeypatch.chdir(folder.parent)
    split_command("hf/little-bert", "layer1", tmp_path / "split", data=str(texts), input=["10"])
    assert f"hf/little-bert cut at layer1, smashed 10x{WIDTH}, {WIDTH} numbers answer" in capsys.readouterr().out
    split = open_split(tmp_path / "split")
    assert (split.manifest.classes, split.manifest.length) == (WIDTH, 10)
    assert split.tokenizer.text == (folder / "tokenizer.json").read_text()
    # The part that rebuilds the halves in torch finds the model from any folder.
    monkeypatch.chdir(tmp_path)
    ids = load(str(texts), shape=(10,), tokenizer=split.tokenizer).test.inputs[:3]
    np.testing.assert_allclose(split.head("torch")(ids), split.head()(ids), atol=1e-5)


@pytest.mark.parametrize(
    ("data", "labels", "epochs", "message"),
    [
        ("documentation", 3, 0, "with 3 scores, and not with those of the 8 classes of documentation, .* training.ep"),
        ("mine.txt", 3, 0, "The accuracy of hf/bert on .*mine.txt cannot be measured, for its sentences have no la"),
        ("mine.txt", 0, 1, "sentences of .*mine.txt have no classes, which a model is trained on: write a .csv"),
        ("digits", 0, 1, "takes the ids of tokens; name data that are text"),
    ],
)
def test_a_run_whose_scores_are_neither_right_nor_wrong_is_refused(data, labels, epochs, message, tmp_path):
    folder = bert_folder(tmp_path / "bert", labels=labels)
    if data == "mine.txt":
        (tmp_path / data).write_text("".join(f"the {'fever ' * k}\n" for k in range(12)))
        data = str(tmp_path / data)
    table = {"data": data, "model": f"hf/{folder}", "cut": "layer1", "training": {"epochs": epochs}}
    (experiment,) = plan.parse(table | {"attack": [{"name": "watch-list"}]})
    with pytest.raises(ConfigError, match=message):
        run_all([experiment], tmp_path / "runs", resume=True, data_root=None, say=lambda _: None)


def test_the_attackers_sentences_are_tokens_of_the_model_too(folder, mine):
    other = {"auxiliary_data": "documentation", "auxiliary": 40}
    table = {"data": str(mine), "model": f"hf/{folder}", "cut": "layer1", "measure": other}
    (experiment,) = plan.parse(table)
    data = victim.load_data(experiment, None)
    read = Tokenizer((folder / "tokenizer.json").read_text(), "here")
    assert data.auxiliary.inputs.max() < read.size
    assert data.auxiliary.inputs.shape[1] == data.input.shape[0]


def test_text_is_read_in_python_with_the_tokens_of_a_model(folder, mine):
    data = cutlayer.load_data(mine, model=f"hf/{folder}")
    assert data.tokenizer == (folder / "tokenizer.json").read_text()
    assert cutlayer.load_data(mine, model=f"hf/{folder}", shape=(5,)).input.shape == (5,)
    assert cutlayer.cuts(f"hf/{folder}", data)[1].name == "layer1"
    with pytest.raises(ConfigError, match="a language model in a folder, such as hf/FOLDER, has tokens"):
        cutlayer.load_data(mine, model="resnet20")
