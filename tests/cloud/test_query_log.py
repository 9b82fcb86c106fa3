"""The log of queries: what a client asks, and when one is flagged."""

from types import SimpleNamespace

import numpy as np
import pytest

from cutlayer.cloud.query_log import ALARMS, LEAST, QueryLog, query_log
from cutlayer.cloud.service import Service
from cutlayer.errors import ConfigError
from cutlayer.split_folder import open_split
from tests.cloud.callers import Waiting, handle, request
from tests.tiny_split import SMASHED, images, write_split

CENTERS = np.random.default_rng(1).random((3, *SMASHED.shape)) * 4


def usual(n, seed=0):
    rng = np.random.default_rng(seed)
    return (CENTERS[rng.integers(3, size=n)] + 0.2 * rng.normal(size=(n, *SMASHED.shape))).astype(np.float32)


def asked(log, party, samples, classes=None):
    classes = np.zeros(len(samples), int) if classes is None else classes
    for start in range(0, len(samples), 8):
        log.see(party, str(party), samples[start : start + 8], classes[start : start + 8])
    return next(client for client in log.clients() if client.name == str(party))


def test_a_client_that_sends_usual_inputs_is_not_flagged():
    log = QueryLog(usual(400))
    client = asked(log, "device", usual(3000, seed=2))
    assert client.asked == 3000
    assert client.far < 0.05 * 3000
    assert client.flagged_after is None
    assert log.flagged == 0


@pytest.mark.parametrize(
    "made",
    [
        lambda n: np.random.default_rng(3).random((n, *SMASHED.shape)).astype(np.float32) * 4,
        lambda n: usual(n) * 1.5,
        lambda n: np.full((n, *SMASHED.shape), np.nan, np.float32),
        lambda n: np.zeros((n, *SMASHED.shape), np.float32),
    ],
)
def test_a_client_whose_queries_are_made_is_flagged_soon(made, caplog):
    log = QueryLog(usual(400))
    client = asked(log, "attacker", made(64))
    assert client.flagged_after <= 20
    assert "attacker is flagged after" in caplog.text
    assert client.flagged_after >= np.log(1 / ALARMS) / np.log(10)


def test_one_that_mixes_made_queries_among_usual_ones_is_flagged_later():
    log, mixed = QueryLog(usual(400)), usual(2000, seed=2)
    mixed[::3] *= 3
    few = usual(2000, seed=4)
    few[::20] *= 3
    assert 20 < asked(log, "third", mixed).flagged_after < 200
    assert asked(log, "few", few).flagged_after is None
    assert log.flagged == 1


def test_questions_about_one_class_are_counted():
    log = QueryLog(usual(400), most=100)
    client = asked(log, "device", usual(200, seed=2), np.arange(200) % 2)
    assert client.by_class == {0: 100, 1: 100}
    assert client.flagged_after is None
    client = asked(log, "device", usual(1, seed=2))
    assert (client.flagged_after, "class 0 more than 100 times" in client.why) == (201, True)
    assert log.summary().splitlines()[0].startswith("device was flagged after 201 of 201 samples")


def test_a_server_logs_what_each_client_asks(tmp_path):
    manifest = write_split(tmp_path / "split")
    split = open_split(tmp_path / "split")
    head, tail = split.head(), split.tail(threads=1)
    log = QueryLog(head(images(400)))
    service = Service(manifest, tail, queries=log)
    sent = head(images(1, seed=5))
    handle(service, request("1", session="s")._replace(tensors=(sent.tobytes(),)))
    handle(service, request("1", session="s")._replace(tensors=(sent.tobytes(),)))
    other = Waiting()
    other.peer = SimpleNamespace(**other.peer._asdict(), party=("", "192.0.2.7"))
    service.submit(request(n=64, value=50.0), 0, other, lend=True)
    other.reply()
    service.drain()  # a sample is counted after its client has the reply
    client, _ = log.clients()
    assert client.by_class == {int(tail(sent).argmax()): 1}
    assert log.flagged == 1
    assert "cutlayer_flagged_clients 1\n" in service.metrics.text()


def test_what_holds_no_usual_samples_is_refused(tmp_path):
    manifest, path = write_split(tmp_path / "split"), tmp_path / "usual.npy"
    np.save(path, usual(LEAST))
    assert query_log(path, manifest).clients() == []
    for wrong in (usual(LEAST - 1), usual(LEAST)[:, 0], np.full((LEAST, *SMASHED.shape), np.nan)):
        np.save(path, wrong)
        with pytest.raises(ConfigError):
            query_log(path, manifest)
    path.write_bytes(b"none")
    with pytest.raises(ConfigError, match="cannot be read"):
        query_log(path, manifest)
