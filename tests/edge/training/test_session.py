"""A session over each transport: asks are numbered, repeated over lost connections, and applied once."""

import contextlib
import threading

import numpy as np
import pytest

from cutlayer.cloud.training.service import TrainingService
from cutlayer.edge.training.session import RolledBack, Session
from cutlayer.errors import DecodeError, Refused, Unreachable
from cutlayer.wire import certs
from cutlayer.wire.codecs.packed import decode
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.message import Inference, infer_request
from cutlayer.wire.training import Call, Reply, read_ask, reply_message
from cutlayer.wire.transport import Timeouts, nothing
from tests.cloud.training.losing import Losing
from tests.cloud.training.test_service import Counting
from tests.wire.ends import WAIT_S, each_socket, each_transport
from tests.wire.test_security import CURVE_CLIENT, CURVE_SERVER, TLS_CLIENT, TLS_SERVER, security

TIMES = Timeouts(connect_s=0.5, request_s=WAIT_S)


class Doubling(Counting):
    """A coordinator whose replies hold what it was sent, doubled."""

    def take(self, ask, done):
        doubled = {name: Raw().encode(2 * decode(tensor)) for name, tensor in ask.tensors.items()}
        super().take(ask, lambda reply: done(reply._replace(tensors=doubled)))


@pytest.fixture
def run():
    """A function that serves coordinators at an address and returns the server and the service."""
    with contextlib.ExitStack() as opened:

        def start(address, build=Doubling, **options):
            service = TrainingService(build)
            opened.callback(service.drain, 0)
            server = listen(address, service, TIMES, **options)
            opened.callback(server.close, 0)
            return server, service

        yield start


@contextlib.contextmanager
def session_at(server, patience_s=WAIT_S, **options):
    with contextlib.closing(connect(str(server.address), TIMES, **options)) as transport:
        yield Session(transport, patience_s, timeouts=TIMES)


def steps(session, n, first=1):
    """The totals after each of n steps, after a check of the tensors that come back."""
    sent = np.arange(40_000, dtype=np.float32)
    totals = []
    for number in range(first, first + n):
        reply = session.ask(Call.STEP, {"add": number}, {"v": Raw().encode(sent)})
        np.testing.assert_array_equal(decode(reply.tensors["v"]), 2 * sent)
        totals.append(reply.parameters["total"])
    return totals


@each_transport
def test_asks_are_applied_in_order(run, address):
    server, service = run(address)
    with session_at(server) as session:
        assert session.ask(Call.OPEN, {"client": 1}).parameters["round"] == 0
        assert steps(session, 4) == [1, 3, 6, 10]
        for call in (Call.TURN, Call.AGGREGATE, Call.EVALUATE, Call.CHECKPOINT, Call.CLOSE):
            session.ask(call)
    assert [ask.step for ask in service.coordinator.asks] == list(range(10))


@each_transport
def test_many_clients_at_a_time_have_sessions_of_their_own(run, address):
    server, service = run(address)
    failures = []

    def client(number):
        try:
            with session_at(server) as session:
                session.ask(Call.OPEN, {"client": number})
                steps(session, 3)
                session.ask(Call.CLOSE)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not failures
    assert service.coordinator.total == 6 * 6


@each_socket
def test_a_reply_that_is_lost_with_its_connection_comes_again_and_its_ask_is_applied_once(run, address):
    """A3: the ask is applied, its reply is lost, and the client asks again."""
    _, service = run(address)

    losing = Losing(service)
    with contextlib.closing(listen(address, losing, TIMES)) as second, session_at(second) as session:
        session.ask(Call.OPEN, {"client": 1})
        assert steps(session, 6) == [1, 3, 6, 10, 15, 21]
    assert losing.count > 8
    assert [ask.step for ask in service.coordinator.asks] == list(range(7))


@each_socket
def test_a_server_that_was_restarted_is_found_again_and_says_where_it_stands(run, address):
    server, _ = run(address)
    with session_at(server) as session:
        session.ask(Call.OPEN, {"client": 1})
        assert steps(session, 2) == [1, 3]
        server.close(0)
        restart = threading.Timer(0.1, run, (str(server.address),))
        restart.start()
        with pytest.raises(RolledBack, match="end of round 0") as caught:
            steps(session, 1)
        assert caught.value.round == 0
        assert steps(session, 2) == [1, 3]
        restart.join()


@each_socket
def test_a_server_that_stays_away_ends_the_patience(run, address):
    server, _ = run(address)
    with session_at(server, patience_s=0.3) as session:
        session.ask(Call.OPEN, {"client": 1})
        server.close(0)
        with pytest.raises(Unreachable, match="was silent for"):
            steps(session, 1)


@each_transport
def test_asks_of_one_client_overlap_and_are_taken_in_their_order(run, address):
    server, service = run(address)
    with session_at(server) as session:
        session.ask(Call.OPEN, {"client": 1})
        replies = [session.submit(Call.STEP, {"add": 10**number}) for number in range(15)]
        totals = [reply.result(WAIT_S).parameters["total"] for reply in replies]
        assert totals == [int("1" * (number + 1)) for number in range(15)]
        assert session.ask(Call.STEP, {"add": 0}).parameters["total"] == totals[-1]
        (lane,) = service._lanes.values()
        assert len(lane.asked) == 1
        session.close()


@each_socket
def test_of_overlapping_asks_that_are_lost_all_hear_that_the_run_went_back(run, address):
    server, service = run(address)
    with session_at(server) as session:
        session.ask(Call.OPEN, {"client": 1})
        service.coordinator.hold = True
        replies = [session.submit(Call.STEP, {"add": 1}) for _ in range(5)]
        with service._changed:
            service._changed.wait_for(lambda: len(service.coordinator.held) == 5, 0.2)
            service._roll_back("of a test")
        for reply in replies:
            with pytest.raises(RolledBack):
                reply.result(WAIT_S)
        assert steps(session, 2) == [1, 3]
        assert len(service._lanes) == 1
        session.close()


@each_socket
def test_a_server_that_has_ended_lets_its_clients_end(run, address):
    server, _ = run(address)
    with session_at(server, patience_s=0.3) as session:
        session.ask(Call.OPEN, {"client": 1})
        server.close(0)
        assert session.ask(Call.CLOSE).step == 1


def test_a_client_that_waits_asks_again_with_the_same_number(run, caplog):
    server, service = run("inprocess://waits", lambda: Counting(hold=True))
    service._hold_s = 0.01
    with session_at(server) as session, caplog.at_level("INFO", "cutlayer.edge.training"):
        timer = threading.Timer(0.3, lambda: service.coordinator.held[0]())
        timer.start()
        assert session.ask(Call.OPEN, {"client": 1}).parameters == {"total": 0, "round": 0}
    assert len(service.coordinator.asks) == 1


class Wrong:
    """A handler whose replies have the number of another step, or name no round."""

    ready = True

    def submit(self, request, arrived_ns, caller, *, lend=False):
        ask = read_ask(request)
        if ask.call is Call.TURN and ask.parameters.get("go"):
            caller.answer(Refused("NOT_FOUND", "unknown"), nothing)
        else:
            caller.answer(reply_message(Reply(ask.step + (ask.call is Call.STEP)), ask.call), nothing)


@each_transport
def test_a_reply_that_does_not_fit_is_an_error(address):
    with contextlib.closing(listen(address, Wrong(), TIMES)) as server, session_at(server) as session:
        session.ask(Call.OPEN, {"client": 1})
        with pytest.raises(DecodeError, match="replied to step 2, not 1"):
            session.ask(Call.STEP)
        with pytest.raises(DecodeError, match="at round None"):
            session.ask(Call.TURN, {"go": 1})


@each_transport
def test_inference_is_refused_by_a_server_that_trains(run, address):
    server, _ = run(address)
    with (
        contextlib.closing(connect(str(server.address), TIMES)) as client,
        pytest.raises(Refused, match="does not answer inference") as caught,
    ):
        client.request(infer_request(Inference("m", "v", "1", {})), WAIT_S)
    assert caught.value.code == "UNIMPLEMENTED"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    certs.init(folder / "ours")
    return folder


@pytest.mark.parametrize(
    ("address", "here", "there"),
    [("grpc://127.0.0.1:0", TLS_SERVER, TLS_CLIENT), ("zmq://127.0.0.1:0", CURVE_SERVER, CURVE_CLIENT)],
    ids=["grpc", "zmq"],
)
def test_training_is_encrypted_and_its_clients_are_admitted_as_in_inference(run, keys, address, here, there):
    server, service = run(address, security=security(keys, here))
    with session_at(server, security=security(keys, there)) as session:
        session.ask(Call.OPEN, {"client": 1})
        assert steps(session, 2) == [1, 3]
    with pytest.raises((Refused, Unreachable)), session_at(server, 0.1, security=_stranger(keys, there)) as session:
        session.ask(Call.OPEN, {"client": 2})
    assert [lane.client for lane in service._lanes.values()] == [1]


def _stranger(keys, files):
    """What a client has that was not admitted."""
    return security(keys, {name: path for name, path in files.items() if name in ("ca", "curve_server")})
