"""Health as gRPC's own tools ask for it, by a client whose messages are defined here as the service publishes them."""

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
    asked = file.message_type.add(name="HealthCheckRequest")
    asked.field.add(name="service", number=1, label=1, type=9)
    answered = file.message_type.add(name="HealthCheckResponse")
    states = answered.enum_type.add(name="ServingStatus")
    for number, name in enumerate(STATUS):
        states.value.add(name=name, number=number)
    answered.field.add(
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
    """A handler that is ready until it is told otherwise."""

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
def test_check_says_whether_requests_are_taken(service):
    with watched() as (handler, _, client):
        assert client.check(service) == "SERVING"
        handler.ready = False
        assert client.check(service) == "NOT_SERVING"


def test_check_knows_no_other_service():
    with watched() as (_, _, client):
        with pytest.raises(grpc.RpcError) as caught:
            client.check("another")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_watch_hears_of_changes_and_ends_with_the_server():
    with watched() as (handler, server, client):
        seen = client.watch(SERVICE)
        assert STATUS[next(seen).status] == "SERVING"
        handler.ready = False
        assert STATUS[next(seen).status] == "NOT_SERVING"
        handler.ready = True
        assert STATUS[next(seen).status] == "SERVING"
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(server.close)
            assert [STATUS[last.status] for last in seen] == ["NOT_SERVING"]
            closing.result(PATIENCE_S)


def test_a_watch_of_another_service_goes_on_and_does_not_know_it():
    with watched() as (_, _, client):
        seen = client.watch("another")
        assert STATUS[next(seen).status] == "SERVICE_UNKNOWN"
        assert client.check() == "SERVING"
        seen.cancel()


def test_a_watch_that_is_given_up_leaves_no_thread_at_work(monkeypatch):
    monkeypatch.setattr(grpc_server, "MAX_CALLS", 1)
    with watched() as (_, _, client):
        until = time.monotonic() + PATIENCE_S
        given_up = 0
        while given_up < 3:
            seen = client.watch()
            try:
                next(seen)
                given_up += 1
            except grpc.RpcError as error:
                # The one thread may still be busy with the watch before.
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or time.monotonic() > until:
                    raise
            seen.cancel()


def test_bytes_that_are_no_request():
    with watched() as (_, server, _), grpc.insecure_channel(server.address.netloc) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"\x0a\x7f", timeout=PATIENCE_S)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_it_asks_for_the_token_as_everything_does(tmp_path):
    (tmp_path / "token").write_text("sesame\n")
    with watched(Security(token_file=tmp_path / "token")) as (_, _, client):
        with pytest.raises(grpc.RpcError) as caught:
            client.check()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert client.check(metadata=[("authorization", "Bearer sesame")]) == "SERVING"
