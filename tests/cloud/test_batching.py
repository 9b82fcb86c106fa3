import threading
from contextlib import contextmanager

import numpy as np
import pytest

from cutlayer.cloud.admission import Limits
from cutlayer.cloud.service import Service
from cutlayer.errors import ConfigError, Refused
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import decode
from cutlayer.wire.handshake import metadata_request
from cutlayer.wire.message import Kind, Message
from tests.cloud.callers import HeldTail, Waiting, handle, request
from tests.tiny_split import SMASHED, write_split


@pytest.fixture
def serving(tmp_path):
    """A function that makes a service whose tail waits; it is drained afterwards."""
    manifest = write_split(tmp_path / "split")
    services = []

    def serve(tap=None, **limits):
        tail = HeldTail(open_split(tmp_path / "split").tail(threads=1))
        service = Service(manifest, tail, tap, limits=Limits(**limits))
        services.append((service, tail))
        return service, tail

    yield serve
    for service, tail in services:
        tail.go_on.set()
        service.drain()


@contextmanager
def busy(service, tail):
    """Keep the service busy with another client's request, on a thread that was lent to it."""
    caller = Waiting("first")
    lent = threading.Thread(target=service.submit, args=(request(value=-1), 0, caller), kwargs={"lend": True})
    lent.start()
    assert tail.begun.wait(20)
    yield
    tail.go_on.set()
    lent.join()
    caller.reply()


def submit(service, *requests, client="another"):
    callers = [Waiting(client) for _ in requests]
    for caller, message in zip(callers, requests, strict=True):
        service.submit(message, 0, caller)
    return callers


def answers(callers):
    return [caller.reply() for caller in callers]


def test_queued_requests_are_computed_together_and_each_gets_its_own_answer(serving):
    service, tail = serving()
    with busy(service, tail):
        callers = submit(service, *(request(str(i), n, value=i) for i, n in enumerate((1, 3, 2))))
    for number, (caller, n) in enumerate(zip(callers, (1, 3, 2), strict=True)):
        reply = caller.inference()
        assert reply.id == str(number)
        expected = tail.tail(np.full((n, *SMASHED.shape), number, np.float32))
        np.testing.assert_allclose(decode(reply.tensors["logits"]), expected, rtol=1e-5)
    assert tail.batches == [[-1], [0, 1, 1, 1, 2, 2]]


def test_clients_take_turns(serving):
    service, tail = serving(max_batch=2)
    with busy(service, tail):
        callers = submit(service, *(request(value=i) for i in (10, 11, 12)), client="greedy")
        callers += submit(service, request(value=20), client="modest")
    answers(callers)
    assert tail.batches == [[-1], [10, 20], [11, 12]]


def test_a_request_is_never_cut_in_two(serving):
    service, tail = serving(max_batch=4)
    with busy(service, tail):
        callers = [
            caller
            for client, n in enumerate((3, 2, 9, 1))
            for caller in submit(service, request(n=n, value=client), client=client)
        ]
    answers(callers)
    assert tail.batches == [[-1], [0] * 3, [1] * 2, [2] * 9, [3]]


def test_a_request_that_cannot_be_read_spoils_no_other(serving):
    service, tail = serving()
    wrong = request(value=5)
    with busy(service, tail):
        good = submit(service, request(value=1), request(value=2))
        bad = submit(service, Message(wrong.kind, wrong.header, (b"too short",)), Message(Kind.INFER, b"\xff"))
    answers(good)
    for caller in bad:
        with pytest.raises(Refused) as caught:
            caller.reply()
        assert caught.value.code == "INVALID_ARGUMENT"
    assert tail.batches == [[-1], [1, 2]]


def test_a_tail_that_fails_is_an_error_for_all_and_the_next_request_works(serving):
    service, tail = serving()
    tail.go_on.set()
    works = tail.tail
    tail.tail = lambda smashed: 1 / 0
    with pytest.raises(Refused, match="its log"):
        handle(service, request())
    tail.tail = lambda smashed: np.zeros((1, 2), np.float32)
    with pytest.raises(Refused, match="its log"):
        handle(service, request())
    tail.tail = works
    handle(service, request())


def test_a_delay_gathers_requests_until_the_batch_is_full(serving):
    service, tail = serving(max_batch=3, max_delay_us=20_000_000)
    tail.go_on.set()
    answers(submit(service, *(request(value=i) for i in range(3))))
    assert tail.batches == [[0, 1, 2]]


def test_a_lent_thread_computes(serving):
    service, tail = serving()
    tail.go_on.set()
    computing = []
    works = tail.tail
    tail.tail = lambda smashed: computing.append(threading.get_ident()) or works(smashed)
    handle(service, request())
    answers(submit(service, request()))
    assert computing[0] == threading.get_ident() != computing[1]


def test_requests_beyond_the_budget_get_a_time_to_retry(serving):
    size = request().nbytes
    service, tail = serving(max_bytes=3 * (size + 1024))
    with busy(service, tail):
        taken = submit(service, request(), request())
        (beyond,) = submit(service, request())
        with pytest.raises(Refused, match="retry later") as caught:
            beyond.reply()
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        assert caught.value.retry_after_ms > 0
    answers(taken)
    handle(service, request())


def test_a_request_larger_than_the_budget_is_computed_when_nothing_else_is(serving):
    service, tail = serving(max_bytes=1)
    tail.go_on.set()
    for _ in range(3):
        handle(service, request(n=5))


def test_nothing_is_computed_for_clients_that_have_left(serving):
    service, tail = serving()
    with busy(service, tail):
        left, stays = submit(service, request(value=1), request(value=2))
        left.left = True
    stays.reply()
    assert tail.batches == [[-1], [2]]
    assert [refused.code for refused in left.replies] == ["CANCELLED"]


def test_draining_answers_arrived_requests_and_refuses_the_rest(serving):
    service, tail = serving()
    with busy(service, tail):
        arrived = submit(service, request(), request())
        draining = threading.Thread(target=service.drain, args=(20,))
        draining.start()
        while service.ready:
            pass
        (late,) = submit(service, request())
        (handshake,) = submit(service, metadata_request("tiny@relu", ""))
        for caller in (late, handshake):
            with pytest.raises(Refused, match="shutting down") as caught:
                caller.reply()
            assert caught.value.code == "UNAVAILABLE"
            assert caught.value.retry_after_ms > 0
    draining.join()
    answers(arrived)


def test_draining_has_an_end(serving):
    service, tail = serving()
    with busy(service, tail):
        (stuck,) = submit(service, request())
        service.drain(0.05)
        with pytest.raises(Refused, match="shutting down"):
            stuck.reply()


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"max_delay_us": -1}, {"max_bytes": 0}])
def test_limits_that_leave_no_room(wrong):
    with pytest.raises(ConfigError, match="must be 1 or more"):
        Limits(**wrong)
