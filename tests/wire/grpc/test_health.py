"""The health service of gRPC, with a client whose messages are defined here as the service publishes them."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from cutlayer.wire.connect import listen
from cutlayer.wire.grpc import server as grpc_server
from cutlayer.wire.security import PLAIN, Security

SERVICE = "inference.GRPCInferenceService"
STATUS = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
PATIENCE_S = 20


def classes():
    file = descriptor_pb2.FileDescriptorProto(name="health.proto", package="grpc.health.v1", syntax="proto3")
    request = file.message_type.add(name="HealthCheckRequest")
    request.field.add(name="service", number=1, label=1, type=9)
    response = file.message_type.add(name="HealthCheckResponse")
    states = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(STATUS):
        states.value.add(name=name, number=number)
    response.field.add(
        name="status", number=1, label=1, type=14, type_name=".grpc.health.v1.HealthCheckResponse.ServingStatus"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"grpc.health.v1.{name}"))
        for name in ("HealthCheckRequest", "HealthCheckResponse")
    ]


REQUEST, RESPONSE = classes()


class Ready:
    """A handler that is ready until a test changes it."""

    ready = True


class Client:
    def __init__(self, channel):
        codecs = REQUEST.SerializeToString, RESPONSE.FromString
        self._check = channel.unary_unary("/grpc.health.v1.Health/Check", *codecs)
        self._watch = channel.unary_stream("/grpc.health.v1.Health/Watch", *codecs)

    def check(self, service="", **options):
        return STATUS[self._check(REQUEST(service=service), timeout=PATIENCE_S, **options).status]

    def watch(self, service=""):
        return self._watch(REQUEST(service=service), timeout=PATIENCE_S)


@contextmanager
def watched(security=PLAIN):
    """A handler, its server, and a client of its health."""
    handler = Ready()
    server = listen("grpc://127.0.0.1:0", handler, security=security)
    with grpc.insecure_channel(server.address.netloc) as channel:
        yield handler, server, Client(channel)
    server.close()


@pytest.mark.parametrize("service", ["", SERVICE])
def test_check_reports_whether_requests_are_taken(service):
    with watched() as (handler, _, client):
        assert client.check(service) == "SERVING"
        handler.ready = False
        assert client.check(service) == "NOT_SERVING"


def test_check_knows_no_other_service():
    with watched() as (_, _, client):
        with pytest.raises(grpc.RpcError) as caught:
            client.check("another")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_watch_reports_changes_and_ends_with_the_server():
    with watched() as (handler, server, client):
        statuses = client.watch(SERVICE)
        assert STATUS[next(statuses).status] == "SERVING"
        handler.ready = False
        assert STATUS[next(statuses).status] == "NOT_SERVING"
        handler.ready = True
        assert STATUS[next(statuses).status] == "SERVING"
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(server.close)
            assert [STATUS[last.status] for last in statuses] == ["NOT_SERVING"]
            closing.result(PATIENCE_S)


def test_a_watch_of_an_unknown_service_stays_open():
    with watched() as (_, _, client):
        statuses = client.watch("another")
        assert STATUS[next(statuses).status] == "SERVICE_UNKNOWN"
        assert client.check() == "SERVING"
        statuses.cancel()


def test_a_watch_that_is_given_up_leaves_no_thread_at_work(monkeypatch):
    monkeypatch.setattr(grpc_server, "MAX_CALLS", 1)
    with watched() as (_, _, client):
        until = time.monotonic() + PATIENCE_S
        given_up = 0
        while given_up < 3:
            statuses = client.watch()
            try:
                next(statuses)
                given_up += 1
            except grpc.RpcError as error:
                # The one thread may still be busy with the watch before.
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or time.monotonic() > until:
                    raise
            statuses.cancel()


def test_bytes_that_are_no_request():
    with watched() as (_, server, _), grpc.insecure_channel(server.address.netloc) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"\x0a\x7f", timeout=PATIENCE_S)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_it_asks_for_the_token_like_all_other_calls(tmp_path):
    (tmp_path / "token").write_text("sesame\n")
    with watched(Security(token_file=tmp_path / "token")) as (_, _, client):
        with pytest.raises(grpc.RpcError) as caught:
            client.check()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert client.check(metadata=[("authorization", "Bearer sesame")]) == "SERVING"
