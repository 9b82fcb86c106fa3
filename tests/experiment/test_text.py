"""A run on sentences: trained, cut, exported, served, read, recorded; with real processes."""

import tomllib

import numpy as np
import pytest

from cutlayer.data.load import load
from cutlayer.edge.inputs import contract
from cutlayer.errors import ConfigError, DataError
from cutlayer.experiment import plan
from cutlayer.experiment import run as one_run
from cutlayer.experiment.run import run_all
from cutlayer.models.manifest import TOKENIZER
from cutlayer.records.reading import read
from cutlayer.sequences import PAD, lengths
from cutlayer.split_folder import open_split
from cutlayer.trace import STAGES

PLAN = """
data = "documentation"
model = "text_transformer"
cut = "block1"
training = {epochs = 1, images = 400}
deployment = [{transport = "zmq", head = "onnx"}, {transport = "grpc", head = "torch"}]
attack = [
    {name = "token-frequency"}, {name = "token-ridge"}, {name = "nearest-activation"}, {name = "permuted-pairs"},
]
[measure]
count = 12
private = 16
auxiliary = 300
warmup = 2
metrics = ["bleu", "known-tokens", "embedding-cosine"]
"""


class Killed(BaseException):
    """What ends the first attempt."""


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A run that was ended after its attacks, and goes on from what lies there; what it says then."""
    folder, said = tmp_path_factory.mktemp("runs"), []

    def end(*of):
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_run, "probe_all", end)
        with pytest.raises(Killed):
            run_all(plan.parse(tomllib.loads(PLAN)), folder, resume=True, data_root=None, say=lambda _: None)
    run_all(plan.parse(tomllib.loads(PLAN)), folder, resume=True, data_root=None, say=said.append)
    return folder, said


@pytest.fixture(scope="module")
def runs(resumed):
    return resumed[0]


def test_what_was_measured_and_read_of_sentences_is_not_made_again(resumed):
    said = " ".join(resumed[1])
    assert not [word for word in ("training text", "exporting", "serving", "attacking", "damaged") if word in said]


@pytest.fixture(scope="module")
def run(runs):
    (only,) = read(runs)[0]
    return only


@pytest.fixture(scope="module")
def split(run):
    return open_split(run.folder / "split")


def test_what_was_read_is_scored_as_tokens(run):
    result = run.result
    assert result.modality == "tokens"
    assert {row.deployment for row in result.privacy} == {"zmq-onnx", "grpc-torch"}
    own = {"token-accuracy", "exact", "rouge-l", "bleu", "known-tokens", "embedding-cosine"}
    read = {row.label: row for row in result.privacy}
    assert all(set(row.metrics) == own for row in result.privacy)
    for name in ("token-ridge", "nearest-activation"):
        assert read[name].metrics["token-accuracy"].value > 0.9
        assert read[name].metrics["embedding-cosine"].value > 0.9
        assert read[name].leakage_gain.value > 0.9
    assert read["token-frequency"].leakage_gain.value == 0
    floor, control = (read[name].metrics["token-accuracy"].value for name in ("token-frequency", "permuted-pairs"))
    assert control < floor + 0.1
    assert (result.spectrum, result.predictors) == (None, None)
    assert all(record.top_1.value > 0.9 for record in result.identification if record.how == "watch list")


def test_both_deployments_let_the_attacker_read_the_same(run):
    rebuilt = [run.pictures.by("token-ridge", where) for where in ("zmq-onnx", "grpc-torch")]
    assert np.array_equal(*rebuilt)
    assert np.array_equal(rebuilt[0] == PAD, run.pictures.originals == PAD)


def test_each_request_carried_a_sentence_of_its_own_length(run, split):
    tested = load("documentation").test.inputs[:12]
    sent = sorted(run.traces["zmq-onnx/tensor_bytes"].tolist())
    assert sent == sorted((lengths(tested) * 128 * 4).tolist())
    assert split.manifest.length == 32
    assert {f"{stage}_ns" for stage in STAGES} <= {name.partition("/")[2] for name in run.traces}


def test_the_tokenizer_goes_with_the_split(split):
    assert TOKENIZER in split.manifest.files
    assert split.file(TOKENIZER).read_text() == load("documentation").tokenizer


def test_the_head_computes_any_length_and_padding_changes_nothing(split):
    head, ids = split.head(), load("documentation").private.inputs[:5]
    whole = head(ids)
    for row, one, length in zip(whole, ids, lengths(ids), strict=True):
        np.testing.assert_allclose(head(one[None, :length])[0], row[:length], atol=1e-4)
        assert not row[length:].any()
    tail = split.tail()
    np.testing.assert_allclose(tail(whole[:1]), tail(whole[:1, : lengths(ids)[0]]), atol=1e-4)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((1, 3), np.float32), "cannot take float32 of shape 1x3 as tokens; .* with its tokenizer"),
        (np.full((1, 3), 2048), "cannot take the id 2,048; .* those of another tokenizer"),
        (np.full((1, 3), -1), "cannot take the id -1"),
        (np.ones((2, 33), np.int64), "a sequence of 33 tokens; .* at most 32 ids .* divide the text"),
        (np.ones(3, np.int64), "int64 of shape 3"),
        ("words", "a str"),
    ],
)
def test_what_is_no_sentence_is_refused(split, batch, message):
    with pytest.raises(DataError, match=message):
        contract(split.manifest)(batch)


def test_ids_of_any_type_and_padding_are_taken(split):
    taken = contract(split.manifest)(np.array([[1, 2] + [PAD] * 40], np.uint8))
    assert taken.dtype == np.int64
    assert taken.shape == (1, 32)


def test_an_attack_on_pictures_is_refused_before_anything_is_trained(tmp_path):
    (experiment,) = plan.parse(tomllib.loads(PLAN.replace("token-ridge", "ridge")))
    with pytest.raises(ConfigError, match=r"ridge does not rebuild sentences, .* choose from .*token-ridge"):
        run_all([experiment], tmp_path, resume=True, data_root=None, say=lambda _: None)
