import logging
import re
import urllib.error
import urllib.request

import numpy as np
import pytest

from cutlayer.cloud.metrics_http import MetricsServer
from cutlayer.cloud.service import Service
from cutlayer.errors import ConfigError, Refused, WireError
from cutlayer.split_folder import open_split
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.visitors import Visitors
from tests.cloud.callers import handle, request
from tests.tiny_split import write_split

SAMPLE = re.compile(r'^(\w+)(\{(?:\w+="[^"]*",?)+\})? (\S+)$')


@pytest.fixture
def service(tmp_path):
    manifest = write_split(tmp_path / "split")
    service = Service(manifest, open_split(tmp_path / "split").tail(threads=1))
    yield service
    service.drain()


@pytest.fixture
def watched(service):
    """A function that gets a page of the service's metrics server."""
    server = MetricsServer("127.0.0.1:0", service)
    yield lambda page: get(f"{server.address}{page}")
    server.close()


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(text):
    """Name with labels to value; fails on a line that is not of the format."""
    values = {}
    for line in text.splitlines():
        if not line.startswith("# TYPE "):
            name, labels, value = SAMPLE.match(line).groups()
            values[name + (labels or "")] = float(value)
    return values


def test_requests_and_answers_are_counted(service, watched):
    sizes = [request("s-1", n, session="s").nbytes for n in (1, 3)]
    handle(service, request("s-1", session="s"))
    handle(service, request("s-1", session="s"))
    handle(service, request("s-2", 3, session="s"))
    with pytest.raises(Refused):
        handle(service, Message(Kind.INFER, b"\xff"))
    status, text = watched("/metrics")
    counted = samples(text)
    assert status == 200
    assert counted['cutlayer_requests_total{code="OK"}'] == 2
    assert counted['cutlayer_requests_total{code="INVALID_ARGUMENT"}'] == 1
    assert counted["cutlayer_repeated_requests_total"] == 1
    assert counted["cutlayer_request_bytes_total"] == sum(sizes)
    assert counted["cutlayer_batch_samples_sum"] == 4
    assert counted['cutlayer_batch_samples_bucket{le="1.0"}'] == 1
    assert counted["cutlayer_in_flight_bytes"] == 0
    assert counted["cutlayer_remembered_bytes"] > 0
    assert counted["cutlayer_allocated_bytes"] >= 0
    assert counted["cutlayer_python_blocks"] > 10_000
    for stage in ("queue", "decode", "tail", "reply"):
        assert counted[f'cutlayer_stage_seconds_count{{stage="{stage}"}}'] == 2
        buckets = [v for k, v in counted.items() if k.startswith(f'cutlayer_stage_seconds_bucket{{stage="{stage}"')]
        assert buckets == sorted(buckets)
        assert buckets[-1] == 2


def test_connections_and_refusals_are_counted_and_said_at_the_end(tmp_path):
    visitors = Visitors()
    manifest = write_split(tmp_path / "split")
    service = Service(manifest, open_split(tmp_path / "split").tail(threads=1), visitors=visitors)
    assert service.metrics.summary() == "answered 0 requests, 0.0 MB, over 0 connections"
    for peer in ("a:1", "a:1", "b:2"):
        visitors.arrived(peer)
    visitors.turned_away("c:3", "tls", "no certificate.")
    handle(service, request("s-1", session="s"))
    with pytest.raises(Refused):
        handle(service, Message(Kind.INFER, b"\xff"))
    counted = samples(service.metrics.text())
    assert counted["cutlayer_connections_total"] == 2
    assert counted['cutlayer_refused_connections_total{reason="tls"}'] == 1
    assert counted['cutlayer_refused_connections_total{reason="key"}'] == 0
    said = service.metrics.summary()
    assert said.startswith("answered 1 requests, ")
    assert said.endswith("over 2 connections; refused 1 (INVALID_ARGUMENT); refused 1 (connections, tls)")
    service.drain()


def test_a_refusal_says_who_and_why(service, caplog):
    with caplog.at_level(logging.INFO, "cutlayer.wire.visitors"), pytest.raises(Refused):
        handle(service, request("s-1", session="s", protocol=99))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "a test is refused, INVALID_ARGUMENT: This server speaks version 1 of the protocol, not 99."


def test_stages_are_in_seconds(tmp_path):
    ticks = iter(np.cumsum([0, 0, 0, 0, 2_000_000_000, 0]).tolist())
    manifest = write_split(tmp_path / "split")
    service = Service(manifest, open_split(tmp_path / "split").tail(threads=1), clock=lambda: next(ticks))
    handle(service, request())
    counted = samples(service.metrics.text())
    assert counted['cutlayer_stage_seconds_sum{stage="tail"}'] == 2
    assert counted['cutlayer_stage_seconds_bucket{stage="tail",le="1.0"}'] == 0
    assert counted['cutlayer_stage_seconds_bucket{stage="tail",le="3.0"}'] == 1


def test_health(service, watched):
    assert [watched(f"/v2/health/{probe}")[0] for probe in ("live", "ready")] == [200, 200]
    service.drain()
    assert [watched(f"/v2/health/{probe}")[0] for probe in ("live", "ready")] == [200, 503]
    assert samples(watched("/metrics")[1])["cutlayer_ready"] == 0
    assert watched("/secrets")[0] == 404


@pytest.mark.parametrize(
    ("listen", "error", "sentence"),
    [
        ("9100", ConfigError, "is not HOST:PORT"),
        ("127.0.0.1:http", ConfigError, "is not HOST:PORT"),
        ("0.0.0.0:0", ConfigError, "insecure"),
        ("192.0.2.1:0", WireError, "Cannot listen"),
    ],
)
def test_an_invalid_address_of_the_metrics_is_refused(service, listen, error, sentence):
    with pytest.raises(error, match=sentence):
        MetricsServer(listen, service, insecure=listen.startswith("192"))
