import gc
import resource
import tracemalloc

import numpy as np
import pytest

from cutlayer.cloud import replies
from cutlayer.cloud.job import owner
from cutlayer.cloud.service import Service
from cutlayer.cloud.tap import Tap, read
from cutlayer.errors import Refused
from cutlayer.split_folder import open_split
from tests.cloud.callers import SECRET, HeldTail, Waiting, handle, request
from tests.cloud.test_batching import busy, submit
from tests.tiny_split import write_split


@pytest.fixture
def served(tmp_path):
    """Service, tail and the folder of its tap, all closed afterwards."""
    manifest = write_split(tmp_path / "split")
    tail, tap = HeldTail(open_split(tmp_path / "split").tail(threads=1)), Tap(tmp_path / "tap")
    service = Service(manifest, tail, tap)
    yield service, tail, (tap, tmp_path / "tap")
    tail.go_on.set()
    service.drain()
    tap.close()


def tapped(tap, folder):
    tap.close()
    return [header["id"] for header, _ in read(folder)]


def logits(caller_or_reply):
    return bytes(caller_or_reply.tensors[0])


def test_a_request_that_is_sent_again_is_answered_from_memory(served):
    service, tail, tap = served
    tail.go_on.set()
    first = handle(service, request("s-1", value=3, session="s"))
    again = Waiting()
    service.submit(request("s-1", value=3, session="s"), 0, again, lend=True)
    assert logits(again.reply()) == logits(first)
    assert again.inference().id == "s-1"
    assert set(again.inference().parameters) == {"queue_ns", "decode_ns", "tail_ns", "reply_ns"}
    assert len(tail.batches) == 1
    assert tapped(*tap) == ["s-1"]


def test_a_repetition_joins_the_request_in_progress(served):
    service, tail, tap = served
    with busy(service, tail):
        callers = submit(service, *[request("s-1", value=3, session="s")] * 3)
    assert len({logits(caller.reply()) for caller in callers}) == 1
    assert tail.batches == [[-1], [3]]
    assert tapped(*tap) == ["", "s-1"]


def test_a_request_is_computed_while_one_of_its_callers_is_there(served):
    service, tail, tap = served
    with busy(service, tail):
        left, stays = submit(service, *[request("s-1", value=3, session="s")] * 2)
        both_left = submit(service, *[request("s-2", value=4, session="s")] * 2)
        for caller in (left, *both_left):
            caller.left = True
    stays.reply()
    handle(service, request("s-2", value=4, session="s"))
    assert tail.batches == [[-1], [3], [4]]
    assert sorted(tapped(*tap)) == ["", "s-1", "s-2"]


def test_ids_of_other_sessions_and_of_none_are_other_requests(served):
    service, tail, tap = served
    tail.go_on.set()
    for session in ({"session": "s"}, {"session": "t"}, {}, {}):
        handle(service, request("1", **session))
    assert len(tail.batches) == 4
    assert tapped(*tap) == ["1"] * 4


def test_a_refused_request_may_come_again(served):
    service, tail, tap = served
    works, tail.tail = tail.tail, lambda smashed: 1 / 0
    tail.go_on.set()
    with pytest.raises(Refused):
        handle(service, request("s-1", session="s"))
    tail.tail = works
    handle(service, request("s-1", session="s"))
    assert tapped(*tap) == ["s-1"]


@pytest.mark.parametrize("lend", [True, False])
def test_an_answer_that_cannot_be_given_ends_its_own_request_only(served, monkeypatch, lend):
    service, tail, _ = served
    tail.go_on.set()
    with monkeypatch.context() as patch:
        patch.setattr(service._reader, "answer", lambda job: 1 / 0)
        for _ in range(2):
            caller = Waiting()
            service.submit(request("s-1", session="s"), 0, caller, lend=lend)
            with pytest.raises(Refused, match="The server failed"):
                caller.reply()
    caller = Waiting()
    service.submit(request("s-1", session="s"), 0, caller, lend=lend)
    caller.reply()


def test_an_id_stands_for_one_request(served):
    service, tail, _ = served
    tail.go_on.set()
    handle(service, request("s-1", session="s"))
    with pytest.raises(Refused, match="for another request"):
        handle(service, request("s-1", n=2, session="s"))


def test_the_memory_has_bounds(served, monkeypatch):
    service, tail, _ = served
    tail.go_on.set()
    monkeypatch.setattr(replies, "MAX_SESSIONS", 4)
    monkeypatch.setattr(replies, "MAX_REPLIES", 3)
    for session in range(10):
        for number in range(10):
            handle(service, request(f"{number}", session=f"{session}"))
    memory = service._replies
    assert [(name, list(answers)) for name, answers in memory._sessions.items()] == [
        (owner("", f"{session}", SECRET), ["7", "8", "9"]) for session in range(6, 10)
    ]
    assert memory.nbytes == sum(answer.nbytes for session in memory._sessions.values() for answer in session.values())

    monkeypatch.setattr(replies, "MAX_BYTES", 1)
    handle(service, request("last", session="new"))
    assert {name: list(answers) for name, answers in memory._sessions.items()} == {owner("", "new", SECRET): ["last"]}
    assert not memory._pending


def test_sessions_that_are_over_make_room_for_those_that_are_not(served, monkeypatch):
    service, tail, _ = served
    tail.go_on.set()
    memory = service._replies
    for number in range(20):
        handle(service, request(f"{number}", session="over"))
    monkeypatch.setattr(replies, "MAX_BYTES", memory.nbytes)
    for number in range(8):
        for session in ("a", "b"):
            handle(service, request(f"{number}", session=session))
    assert memory.nbytes <= replies.MAX_BYTES
    ids = {name: list(memory._sessions[owner("", name, SECRET)]) for name in ("a", "b", "over")}
    assert ids["a"] == ids["b"] == [f"{number}" for number in range(8)]
    assert ids["over"][-1] == "19", "the oldest answers go first"


def test_the_counted_bytes_are_those_in_memory(served):
    """Small logits are views of their batch, which must not stay in memory with them."""
    service, tail, _ = served
    # Requests that wait for the disk are counted elsewhere.
    service._tap = None
    tail.go_on.set()
    tail.tail = lambda smashed: np.zeros((1000, 3), np.float32)[: len(smashed)]
    tracemalloc.start()
    try:
        for session in range(4):
            for number in range(replies.MAX_REPLIES):
                handle(service, request(f"{number}", n=1 + number % 4 * 50, session=f"{session}"))
            tail.batches.clear()
            gc.collect()
            if session == 0:
                before = tracemalloc.get_traced_memory()[0] - service._replies.nbytes
        growth = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.7 < growth / service._replies.nbytes < 1.3


def test_too_many_callers_of_one_request_get_a_time_to_retry(served):
    service, tail, _ = served
    with busy(service, tail):
        callers = submit(service, *[request("s-1", session="s")] * (replies.MAX_CALLERS + 1))
        with pytest.raises(Refused, match="in progress") as caught:
            callers[-1].reply()
        assert caught.value.retry_after_ms > 0
    for caller in callers[:-1]:
        caller.reply()


def test_a_tap_recognizes_the_requests_from_before_a_restart(tmp_path):
    write_split(tmp_path / "split")
    for durable in (False, True, False):
        tap = Tap(tmp_path / "tap", durable=durable)
        service = Service(write_split(tmp_path / "split"), open_split(tmp_path / "split").tail(threads=1), tap)
        for number in range(3):
            handle(service, request(f"s-{number}", value=number, session="s"))
            if durable:
                assert len(list(read(tmp_path / "tap"))) == 3
        tap.close()
    assert [header["id"] for header, _ in read(tmp_path / "tap")] == ["s-0", "s-1", "s-2"]


def test_a_durable_tap_is_written_before_the_answer_leaves(tmp_path):
    tap = Tap(tmp_path / "tap", durable=True)
    service = Service(write_split(tmp_path / "split"), open_split(tmp_path / "split").tail(threads=1), tap)
    caller, recorded = Waiting(), []
    caller.answer = lambda reply, sent: recorded.append([header["id"] for header, _ in read(tmp_path / "tap")])
    service.submit(request("s-1", session="s"), 0, caller, lend=True)
    tap.close()
    assert recorded == [["s-1"]]


def test_a_durable_tap_that_cannot_be_written_refuses_and_a_repetition_is_answered_and_recorded_once(tmp_path):
    tap = Tap(tmp_path / "tap", durable=True)
    service = Service(write_split(tmp_path / "split"), open_split(tmp_path / "split").tail(threads=1), tap)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        for n_lost in (1, 2):
            with pytest.raises(Refused) as refused:
                handle(service, request("s-1", session="s"))
            assert (refused.value.code, refused.value.retry_after_ms) == ("RESOURCE_EXHAUSTED", 1000)
            assert tap.n_lost == n_lost
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    handle(service, request("s-1", session="s"))
    tap.close()
    assert [header["id"] for header, _ in read(tmp_path / "tap")] == ["s-1"]


def test_a_tap_that_cannot_be_written_keeps_no_answer_back(tmp_path, caplog):
    tap = Tap(tmp_path / "tap")
    service = Service(write_split(tmp_path / "split"), open_split(tmp_path / "split").tail(threads=1), tap)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        for number in range(3):
            handle(service, request(f"s-{number}", session="s"))
    finally:
        tap.close()
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "tap_lost_requests 3" in service.metrics.text()
    assert list(read(tmp_path / "tap")) == []
    stopped, lacks = caplog.messages
    assert "the tap has stopped" in stopped
    assert "lacks 3 requests" in lacks
