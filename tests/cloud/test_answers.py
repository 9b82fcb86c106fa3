"""The answer defense of a server: what a reply holds, once for each request, over every transport."""

import subprocess
import urllib.request
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.cloud.admission import Limits
from cutlayer.cloud.answers import Answers, answers_of
from cutlayer.cloud.service import Service
from cutlayer.commands.sides import _answer_defense
from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.defenses.answers.label_only import LabelOnly
from cutlayer.defenses.answers.learned import ready, save
from cutlayer.deployment.processes import tied
from cutlayer.errors import ConfigError, Refused
from cutlayer.models.folder import computed_by
from cutlayer.models.manifest import Ends
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split
from cutlayer.tables import Named
from cutlayer.wire.codecs.packed import decode
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.message import read_infer_reply
from tests.cloud.callers import Waiting, handle, request
from tests.tiny_split import ADDRESSES, CLASSES, SMASHED, edge_at, images, write_split


@dataclass(kw_only=True)
class Noisy(AnswerDefense):
    """Adds a draw and what it learned to each score, and keeps what it was given."""

    knob = "scale"
    plain_words = "adds noise to each score"
    scale: float = 1.0

    def learn(self, model, reference, seed):
        self._learned = {"offset": np.full(CLASSES, -2.0, np.float32)}

    def answer(self, scores, rng):
        self.given = [*getattr(self, "given", ()), scores]
        noise = rng.uniform(-self.scale, 0, scores.shape).astype(np.float32)
        return scores + noise + self.learned.get("offset", 0)


@pytest.fixture
def folder(tmp_path):
    write_split(tmp_path / "split")
    return tmp_path / "split"


def serving(folder, defense, tail=None, **limits):
    split = open_split(folder)
    answers = Answers(defense, split.manifest, "a test")
    return Service(split.manifest, tail or split.tail(threads=1), limits=Limits(**limits), answers=answers)


def told(reply):
    return decode(read_infer_reply(reply).tensors["logits"])


def log_probabilities(logits):
    return torch.log_softmax(torch.from_numpy(logits), 1).numpy()


@pytest.mark.parametrize("scheme", [*ADDRESSES, "oip+grpc"])
def test_each_transport_carries_the_defended_reply(folder, scheme):
    split = open_split(folder)
    service = serving(folder, LabelOnly())
    server = listen(ADDRESSES.get(scheme, "grpc://127.0.0.1:0"), service)
    client = connect(str(server.address).replace("grpc", "oip+grpc") if scheme == "oip+grpc" else str(server.address))
    try:
        logits, _ = edge_at(folder, client).infer(images(5))
    finally:
        client.close()
        server.close()
        service.drain()
    plain = split.model()(images(5))
    assert logits.dtype == np.float32
    assert (logits == np.where(np.arange(CLASSES) == plain.argmax(1)[:, None], 0, -1000)).all()


def test_a_defense_gets_log_probabilities_of_either_runtime(folder):
    split = open_split(folder)
    smashed = np.random.default_rng(0).random((4, *SMASHED.shape), np.float32)
    onnx = split.tail(threads=1)
    linear = nn.Linear(72, CLASSES, bias=False)
    basis = np.eye(72, dtype=np.float32).reshape(72, *SMASHED.shape)
    linear.weight.data = torch.from_numpy(onnx(basis)).T.contiguous()
    for tail in (onnx, computed_by(nn.Sequential(nn.Flatten(), linear), None)):
        defense = Noisy(scale=0.0)
        service = serving(folder, defense, tail)
        reply = handle(service, request()._replace(tensors=(smashed[:1].tobytes(),)))
        np.testing.assert_allclose(defense.given[-1], log_probabilities(tail(smashed[:1])), rtol=1e-5)
        np.testing.assert_allclose(told(reply), defense.given[-1], rtol=1e-6)


def test_a_request_is_answered_whole_whatever_its_batch(folder):
    defense = Noisy()
    service = serving(folder, defense, max_batch=2)
    handle(service, request("1", 5, session="s"))
    assert [len(scores) for scores in defense.given] == [5]


def test_a_repeated_request_gets_the_same_draws_and_another_one_fresh_ones(folder):
    service = serving(folder, Noisy())
    first, again, other = (handle(service, request(id, 3, session="s")) for id in ("1", "1", "2"))
    assert first.tensors == again.tensors
    assert not np.array_equal(told(first), told(other))


def test_a_defense_that_fails_refuses_its_request_alone(folder, caplog):
    class Wrong(LabelOnly):
        def answer(self, scores, rng):
            return np.full_like(scores, np.nan) if len(scores) == 2 else scores

    service = serving(folder, Wrong())
    with pytest.raises(Refused, match="see its log"):
        handle(service, request(n=2))
    assert "not finite" in caplog.text
    assert told(handle(service, request(n=1))).shape == (1, CLASSES)


def test_without_a_defense_a_reply_is_what_it_was(folder):
    split = open_split(folder)
    for named in (Named("none"), Named("none", title="another")):
        assert answers_of(split.manifest, named) is None
    service = Service(split.manifest, split.tail(threads=1))
    smashed = np.random.default_rng(0).random((1, *SMASHED.shape), np.float32)
    caller = Waiting()
    service.submit(request()._replace(tensors=(smashed.tobytes(),)), 0, caller, lend=True)
    assert bytes(caller.reply().tensors[0]) == split.tail(threads=1)(smashed).tobytes()
    assert 'cutlayer_answer_defense{name="none"} 1\n' in service.metrics.text()


def test_what_gives_no_vector_of_class_scores_is_refused(folder):
    manifest = open_split(folder).manifest
    for answers in ({"a": TensorSpec((2, 3))}, {"a": TensorSpec((3,)), "b": TensorSpec((1,))}, {"a": TensorSpec((1,))}):
        ends = Ends({"image": manifest.input}, {}, {}, answers, {})
        with pytest.raises(ConfigError, match="one vector of class scores"):
            Answers(LabelOnly(), replace(manifest, ends=ends), "label-only")
    with pytest.raises(ConfigError, match="answers with probabilities"):
        serving(folder, LabelOnly(), lambda smashed: np.full((len(smashed), CLASSES), 1 / CLASSES, np.float32))


def test_what_was_learned_is_read_from_a_file(tmp_path):
    defense = Noisy()
    with pytest.raises(ConfigError, match="has to learn"):
        ready(defense, "noisy")
    defense.learn(None, None, 0)
    save(tmp_path / "learned", defense)
    other = ready(Noisy(), "noisy", tmp_path / "learned")
    assert (other.learned["offset"] == -2).all()
    with pytest.raises(ConfigError, match="learns nothing"):
        ready(LabelOnly(), "label-only", tmp_path / "learned")

    @dataclass(kw_only=True)
    class Another(Noisy):
        pass

    with pytest.raises(ConfigError, match="not written for"):
        ready(Another(), "another", tmp_path / "learned")
    (tmp_path / "damaged").write_bytes((tmp_path / "learned").read_bytes()[:-3])
    with pytest.raises(ConfigError, match="cannot be read"):
        ready(Noisy(), "noisy", tmp_path / "damaged")

    class Trains(AnswerDefense):
        knob = ""

    with pytest.raises(ConfigError, match="not on replies"):
        ready(Trains(), "trains")


def test_options_are_set_as_in_a_plan():
    assert _answer_defense("label-only", []) == Named("label-only")
    with pytest.raises(ConfigError, match="knows no 'step'"):
        _answer_defense("label-only", ["step=0.1"])
    with pytest.raises(ConfigError, match="such as step="):
        _answer_defense("label-only", ["step"])
    with pytest.raises(ConfigError, match="no answer defense named 'label'"):
        _answer_defense("label", [])


def test_the_server_says_which_defense_is_on(folder):
    words = (folder, "--listen", "zmq://127.0.0.1:0", "--answers", "label-only", "--metrics", "127.0.0.1:0")
    command = tied("cutlayer.cli", "cloud", *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as cloud:
        try:
            *_, answers, metrics = cloud.stdout.readline().split()
            with urllib.request.urlopen(metrics.removeprefix("metrics="), timeout=10) as page:
                text = page.read().decode()
        finally:
            cloud.terminate()
    assert answers == "answers=label-only"
    assert 'cutlayer_answer_defense{name="label-only"} 1\n' in text


def test_what_was_learned_for_other_answers_is_refused_before_anything_is_served(folder):
    defense = Noisy()
    defense.deploy({"offset": np.zeros(CLASSES + 1, np.float32)})
    with pytest.raises(ConfigError, match=r"a test cannot answer for .* with what it has learned"):
        serving(folder, defense)
