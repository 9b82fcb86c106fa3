"""Each ask of a session is applied once and in order; strangers, gaps and second clients are refused."""

import threading
import time

import numpy as np
import pytest

from cutlayer.cloud.training.service import TrainingService
from cutlayer.errors import DecodeError, Refused
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.message import Inference, infer_request
from cutlayer.wire.training import READER, Ask, Call, Reply, ask_message, read_reply
from cutlayer.wire.transport import refusal
from tests.cloud.callers import SECRET, Waiting


class Counting:
    """A coordinator that adds up what it is sent, and keeps what it has not replied while it is told to hold."""

    gone = awaited = ()

    def __init__(self, hold=False):
        self.hold, self.held, self.total, self.asks, self.closed = hold, [], 0.0, [], threading.Event()

    def take(self, ask, done):
        self.asks.append(ask)
        if ask.call is Call.STEP and "add" not in ask.parameters:
            raise DecodeError("There is nothing to add.")
        if ask.call is Call.OPEN and 7 < ask.parameters["client"] < READER:
            raise Refused("FAILED_PRECONDITION", "There are 8 clients.")
        self.total += ask.parameters.get("add", 0)
        reply = Reply(0, {"total": self.total, "round": 0}, ask.tensors)
        if self.hold:
            self.held.append(lambda: done(reply))
        else:
            done(reply)

    def waiting(self, session):
        return "client 2 has not opened a session"

    def close(self):
        self.closed.set()


@pytest.fixture
def serve():
    """A function that makes a service, whose coordinators are kept in its list `built`."""
    services = []

    def start(hold=False, **options):
        built = []

        def build():
            built.append(Counting(hold))
            return built[-1]

        service = TrainingService(build, **options)
        service.built = built
        services.append(service)
        return service

    yield start
    for service in services:
        service.drain(0)


def asked(service, call, session, step, lend=True, secret=SECRET, identity="", tensors=None, answered=0, **parameters):
    caller = Waiting()
    caller.peer = caller.peer._replace(identity=identity)
    if secret is not None:
        parameters["secret"] = secret
    service.submit(ask_message(Ask(call, session, step, parameters, tensors or {}, answered)), 0, caller, lend=lend)
    return caller


def replied(caller):
    return read_reply(caller.reply())


def opened(service, client=1, session="s", **more):
    return replied(asked(service, Call.OPEN, session, 0, client=client, **more))


@pytest.mark.parametrize("lend", [True, False])
def test_an_ask_is_applied_once_however_often_it_comes(serve, lend):
    service = serve()
    opened(service)
    sent = {"v": Raw().encode(np.arange(6, dtype=np.float32).reshape(2, 3))}
    first, *others = (replied(asked(service, Call.STEP, "s", 1, lend=lend, add=5, tensors=sent)) for _ in range(3))
    assert first == Reply(1, {"total": 5, "round": 0}, first.tensors)
    assert bytes(first.tensors["v"].data) == bytes(sent["v"].data)
    assert others == [first, first]
    assert replied(asked(service, Call.STEP, "s", 2, add=1)).parameters["total"] == 6
    assert len(service.built[0].asks) == 3
    assert all("secret" not in ask.parameters for ask in service.built[0].asks)


def test_a_repeated_refusal_is_the_same_and_the_session_goes_on(serve):
    service = serve()
    opened(service)
    for _ in range(2):
        with pytest.raises(Refused, match="nothing to add") as caught:
            asked(service, Call.STEP, "s", 1).reply()
        assert caught.value.code == "INVALID_ARGUMENT"
    assert len(service.built[0].asks) == 2
    assert replied(asked(service, Call.STEP, "s", 2, add=1)).parameters["total"] == 1


def test_a_repetition_while_the_reply_is_not_there_waits_in_place_of_the_first(serve):
    service = serve(hold=True)
    first, second = (asked(service, Call.OPEN, "s", 0, client=1) for _ in range(2))
    with pytest.raises(Refused, match="another connection") as caught:
        first.reply()
    assert caught.value.code == "CANCELLED"
    assert not second.replies
    (reply,) = service.built[0].held
    reply()
    assert replied(second).parameters["round"] == 0


@pytest.mark.parametrize(
    ("call", "step", "more", "code", "sentence"),
    [
        (Call.TURN, 2, {"add": 1}, "INVALID_ARGUMENT", "was another ask"),
        (Call.OPEN, 0, {"client": 1}, "OUT_OF_RANGE", "is over: step 3 is next"),
        (Call.STEP, 2, {"add": 2}, "INVALID_ARGUMENT", "was another ask"),
        (Call.STEP, 1, {"add": 1}, "OUT_OF_RANGE", "is over: step 3 is next"),
        (Call.STEP, 19, {"add": 1}, "OUT_OF_RANGE", "too early: step 3 is next"),
        (Call.STEP, 3, {"add": 1, "secret": "the secret of a stranger"}, "PERMISSION_DENIED", "another client"),
        (Call.STEP, 3, {"add": 1, "identity": "a key"}, "PERMISSION_DENIED", "another client"),
        (Call.STEP, 3, {"secret": "short"}, "INVALID_ARGUMENT", "secret of 16 to 128"),
        (Call.STEP, 3, {"secret": None}, "INVALID_ARGUMENT", "secret of 16 to 128"),
    ],
)
def test_what_is_not_the_next_ask_of_a_session_is_refused_and_changes_nothing(serve, call, step, more, code, sentence):
    service = serve()
    opened(service)
    for number in (1, 2):
        asked(service, Call.STEP, "s", number, add=1, answered=number).reply()
    with pytest.raises(Refused, match=sentence) as caught:
        asked(service, call, "s", step, **more).reply()
    assert caught.value.code == code
    assert replied(asked(service, Call.STEP, "s", 3, add=1)).parameters["total"] == 3


@pytest.mark.parametrize("lend", [True, False])
def test_asks_that_overtake_each_other_are_taken_in_order(serve, lend):
    service = serve()
    opened(service)
    order = [3, 1, 5, 2, 4]
    callers = {step: asked(service, Call.STEP, "s", step, lend=lend, add=10**step) for step in order}
    totals = {step: replied(caller).parameters["total"] for step, caller in callers.items()}
    assert totals == {1: 10, 2: 110, 3: 1110, 4: 11110, 5: 111110}
    assert replied(asked(service, Call.STEP, "s", 2, add=100)).parameters["total"] == 110


def test_who_skips_a_step_is_told_so(serve):
    service = serve(hold_s=0.05)
    opened(service)
    assert replied(asked(service, Call.STEP, "s", 2, add=1)).parameters == {
        "wait": "step 1 of this session has not come (since 0 s)."
    }


def test_replies_that_have_come_are_forgotten(serve):
    service = serve()
    opened(service)
    kept = []
    for step in range(1, 40):
        asked(service, Call.STEP, "s", step, add=1, answered=step if step < 10 else 0).reply()
        kept.append(len(service._lanes["s"].asked))
    assert kept == [1] * 9 + [*range(2, 17)] + [16] * 15


@pytest.mark.parametrize(
    ("step", "parameters"), [(1, {"client": 1}), (0, {}), (0, {"client": "x"}), (0, {"client": 0})]
)
def test_a_session_begins_with_a_whole_open(serve, step, parameters):
    with pytest.raises(Refused, match=r"no such session|whole number"):
        asked(serve(), Call.OPEN, "s", step, **parameters).reply()


def test_inference_is_refused(serve):
    caller = Waiting()
    serve().submit(infer_request(Inference("m", "v", "1", {})), 0, caller, lend=True)
    with pytest.raises(Refused, match="does not answer inference") as caught:
        caller.reply()
    assert caught.value.code == "UNIMPLEMENTED"


def test_a_number_belongs_to_one_client(serve):
    service = serve()
    opened(service, client=3)
    with pytest.raises(Refused, match="Client 3 takes part already, from a test, heard 0 s ago") as caught:
        opened(service, client=3, session="another", secret="the secret of another device")
    assert caught.value.code == "ALREADY_EXISTS"
    assert replied(asked(service, Call.STEP, "s", 1, add=1)).parameters["total"] == 1
    assert len(service.built) == 1


def test_a_client_that_is_not_admitted_leaves_its_number_to_others(serve):
    service = serve()
    for number in range(2):
        with pytest.raises(Refused, match="There are 8 clients"):
            opened(service, client=9, secret=f"the secret of device {number}")
    opened(service, client=7)


def test_a_client_that_begins_again_takes_all_back_to_the_checkpoint(serve):
    service = serve()
    opened(service, client=1, session="a")
    opened(service, client=2, session="b")
    asked(service, Call.STEP, "a", 1, add=1).reply()
    service.built[0].hold = True
    waiting = asked(service, Call.STEP, "a", 2, add=1)
    opened(service, client=2, session="b, restarted")
    for caller in (waiting, asked(service, Call.STEP, "a", 3, add=1)):
        with pytest.raises(Refused, match="open one") as caught:
            caller.reply()
        assert caught.value.code == "NOT_FOUND"
    old, new = service.built
    assert old.closed.wait(20)
    old.held[0]()  # too late: nobody hears it
    opened(service, client=1, session="a, again")
    assert replied(asked(service, Call.STEP, "a, again", 1, add=1)).parameters["total"] == 1
    assert service.coordinator is new


def test_a_client_that_was_dropped_and_begins_again_takes_nobody_back(serve):
    service = serve()
    opened(service, client=1, session="a")
    opened(service, client=2, session="b")
    service.coordinator.gone = {2}
    with pytest.raises(Refused, match="gone on without client 2") as caught:
        opened(service, client=2, session="b, restarted")
    assert caught.value.code == "FAILED_PRECONDITION"
    assert replied(asked(service, Call.STEP, "a", 1, add=1)).parameters["total"] == 1


def test_who_asks_for_the_plan_takes_nobody_back_and_takes_no_room(serve):
    service = serve()
    opened(service, client=1, session="a")
    for k in range(100):
        opened(service, client=READER, session=f"reader {k}")
    assert replied(asked(service, Call.STEP, "a", 1, add=1)).parameters["total"] == 1
    assert len(service.built) == 1
    with pytest.raises(Refused) as caught:
        asked(service, Call.STEP, "reader 0", 1, add=1).reply()
    assert caught.value.code == "NOT_FOUND"


def test_a_client_that_is_done_takes_nobody_back(serve):
    service = serve()
    opened(service, session="a")
    asked(service, Call.CLOSE, "a", 1).reply()
    opened(service, session="b")
    assert len(service.built) == 1


def test_who_is_held_is_told_for_whom_and_asks_again(serve, caplog):
    service = serve(hold=True, hold_s=0.05)
    service.coordinator.awaited = {1, 2}
    with caplog.at_level("INFO", "cutlayer.cloud.training"):
        reply = replied(asked(service, Call.OPEN, "s", 0, client=1))
    assert reply == Reply(
        0,
        {
            "wait": "client 2 has not opened a session; client 1 was heard 0 s ago, from a test, client 2 "
            "has not come (since 0 s)."
        },
    )
    assert "client 1, a test, waits: client 2 has not opened" in caplog.text
    again = asked(service, Call.OPEN, "s", 0, client=1)
    service.built[0].held[0]()
    assert replied(again).parameters == {"total": 0, "round": 0}


def test_draining_waits_for_what_is_computed_and_refuses_the_rest(serve):
    service = serve(hold=True)
    early = asked(service, Call.OPEN, "a", 0, client=1)
    timer = threading.Timer(0.05, lambda: service.built[0].held[0]())
    timer.start()
    start = time.monotonic()
    service.drain(20, "The server was stopped.")
    assert time.monotonic() - start < 10
    assert replied(early).parameters["round"] == 0
    with pytest.raises(Refused, match=r"^The server was stopped\.$") as caught:
        asked(service, Call.OPEN, "b", 0, client=1).reply()
    assert caught.value.code == "UNAVAILABLE"
    assert not service.ready
    assert service.built[0].closed.is_set()


def test_an_error_of_the_coordinator_is_a_refusal_without_its_words(serve, caplog):
    service = serve()
    service.built[0].take = lambda ask, done: 1 / 0
    with pytest.raises(Refused, match="its log") as caught:
        opened(service)
    assert caught.value.code == refusal(ZeroDivisionError()).code == "INTERNAL"
