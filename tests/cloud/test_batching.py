import threading
from contextlib import closing, contextmanager

import numpy as np
import pytest

from cutlayer.cloud import turns
from cutlayer.cloud.admission import Budget, Limits
from cutlayer.cloud.lines import Party
from cutlayer.cloud.service import Service
from cutlayer.cloud.tap import Tap, read
from cutlayer.errors import ConfigError, Refused
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import codec_named, decode
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.handshake import metadata_request
from cutlayer.wire.message import Inference, Kind, Message, infer_request
from tests.cloud.callers import SECRET, HeldTail, Waiting, handle, request
from tests.tiny_split import CLASSES, SMASHED, write_split


@pytest.fixture
def serving(tmp_path, monkeypatch):
    """A function that makes a service whose tail waits; it is drained afterwards."""
    # Else it depends on the machine whether a large request is computed undivided.
    monkeypatch.setattr(turns, "SLICE_S", 0.0)
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
    """Keep the service busy with an earlier request of the client, on a thread that was lent to it."""
    caller = Waiting()
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


def test_a_large_request_is_computed_in_slices_and_answered_whole(serving, tmp_path):
    samples = np.random.default_rng(0).normal(size=(10, *SMASHED.shape)).astype(np.float32)
    large = infer_request(
        Inference("tiny@relu", "", "big", {"smashed": Raw().encode(samples)}, {"session": "s", "secret": SECRET})
    )
    with closing(Tap(tmp_path / "tap")) as tap:
        service, tail = serving(tap, max_batch=4)
        with busy(service, tail):
            first, again = submit(service, large, large)
        reply = first.inference()
        logits = decode(reply.tensors["logits"])
        assert again.inference().tensors["logits"].data == reply.tensors["logits"].data
    expected = np.concatenate([tail.tail(samples[i : i + 4]) for i in (0, 4, 8)])
    np.testing.assert_array_equal(logits, expected)
    assert [len(batch) for batch in tail.batches] == [1, 4, 4, 2]
    assert [header["shape"][0] for header, _ in read(tmp_path / "tap")] == [1, 10]
    assert service.metrics.text().count('cutlayer_requests_total{code="OK"} 2\n') == 1


def test_others_are_served_between_the_slices_of_a_large_request(serving):
    service, tail = serving(max_batch=4)
    (large,) = submit(service, request(n=200, value=1), client="hog")
    assert tail.begun.wait(20)
    small = submit(service, request(value=2), request(value=3))
    tail.go_on.set()
    answers(small)
    large.reply()
    order = [value for batch in tail.batches for value in batch]
    assert order.index(3) < 20
    assert order.count(1) == 200


def test_a_client_that_leaves_stops_its_remaining_slices(serving, tmp_path):
    with closing(Tap(tmp_path / "tap")) as tap:
        service, tail = serving(tap, max_batch=4)
        (large,) = submit(service, request(n=100))
        assert tail.begun.wait(20)
        large.left = True
        tail.go_on.set()
        assert large.answered.wait(20)
        handle(service, request(value=2))
    assert [refused.code for refused in large.replies] == ["CANCELLED"]
    assert sum(len(batch) for batch in tail.batches) <= 2 * 4 + 1
    assert service._batcher.in_flight_bytes == 0
    assert [header["shape"][0] for header, _ in read(tmp_path / "tap")] == [100, 1]


def test_a_tail_that_fails_between_slices_is_one_error(serving):
    service, tail = serving(max_batch=4)
    works = tail.tail
    tail.go_on.set()
    tail.tail = lambda smashed: works(smashed) if len(tail.batches) < 3 else 1 / 0
    (large,) = submit(service, request(n=20))
    with pytest.raises(Refused, match="its log"):
        large.reply()
    assert (len(tail.batches), service._batcher.in_flight_bytes) == (3, 0)
    tail.tail = works
    handle(service, request())


def test_the_durations_of_slices_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "SLICE_S", 0.0)
    manifest = write_split(tmp_path / "split")
    clock = Ticks()
    tail = clock.passing(1000, open_split(tmp_path / "split").tail(threads=1))
    service = Service(manifest, tail, clock=clock, limits=Limits(max_batch=4))
    (large,) = submit(service, request(n=10))
    durations = large.inference().parameters
    assert durations["tail_ns"] == 3 * 1000
    assert sum(durations.values()) == clock.now_ns
    service.drain()


class Ticks:
    """A clock that goes on only while the tail computes."""

    now_ns = 0

    def __call__(self):
        return self.now_ns

    def passing(self, ns, tail):
        def compute(smashed):
            self.now_ns += ns
            return tail(smashed)

        return compute


@pytest.mark.parametrize("codec", ["top-k", "raw+zstd", "raw"])
def test_too_many_samples_are_refused_before_they_are_decoded(serving, codec, monkeypatch):
    service, tail = serving(max_samples=8)
    tail.go_on.set()
    zeros = codec_named(codec).encode(np.zeros((9, *SMASHED.shape), np.float32))
    monkeypatch.setattr(type(codec_named(codec)), "decode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(Refused, match=r"at most 8 samples .*--max-samples.* has 9") as caught:
        handle(service, infer_request(Inference("tiny@relu", "", "", {"smashed": zeros})))
    assert caught.value.code == "INVALID_ARGUMENT"


def test_decoded_bytes_and_answers_count_toward_the_budget(serving):
    service, tail = serving()
    few = codec_named("top-k").encode(np.zeros((200, *SMASHED.shape), np.float32))
    (caller,) = submit(service, infer_request(Inference("tiny@relu", "", "", {"smashed": few})))
    assert service._batcher.in_flight_bytes >= 200 * (SMASHED.nbytes + 4 * CLASSES) + len(few.data)
    tail.go_on.set()
    caller.reply()
    assert service._batcher.in_flight_bytes == 0


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
    service, tail = serving(max_bytes=6 * (size + 1100))
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


def test_one_peer_leaves_room_for_others():
    budget, (hog, other, third) = Budget(100), (Party(name, 0.0) for name in ("hog", "other", "third"))
    assert [budget.take(hog, 20) for _ in range(3)] == [True, True, False]
    assert [budget.take(other, 20) for _ in range(2)] == [True, False]
    assert not budget.take(third, 30)
    assert budget.take(third, 13)
    budget.give_back(hog, 20)
    assert budget.take(other, 10)
    assert budget.nbytes == 63


def test_a_request_larger_than_the_budget_leaves_room_for_small_ones():
    budget, (hog, other, third) = Budget(100), (Party(name, 0.0) for name in ("hog", "other", "third"))
    assert budget.take(hog, 500)
    assert not budget.take(hog, 1)
    assert budget.take(other, 20)
    assert not budget.take(third, 500)
    budget.give_back(hog, 500)
    budget.give_back(other, 20)
    assert budget.nbytes == 0
    assert budget.take(third, 500)


@pytest.mark.parametrize(
    "wrong", [{"max_batch": 0}, {"max_delay_us": -1}, {"max_bytes": 0}, {"max_samples": 0}, {"max_batch": 1 << 40}]
)
def test_limits_that_leave_no_room(wrong):
    with pytest.raises(ConfigError, match=rf"{next(iter(wrong))}.* was given"):
        Limits(**wrong)
