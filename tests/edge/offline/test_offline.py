import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest

from cutlayer.cloud.service import Service
from cutlayer.cloud.tap import read
from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.base import Defense
from cutlayer.edge.client import Edge
from cutlayer.edge.offline.lookout import Lookout
from cutlayer.edge.offline.policy import OfflinePolicy
from cutlayer.edge.offline.queue import Queue
from cutlayer.edge.offline.replay import Offline, open_offline
from cutlayer.edge.pipeline import Pipeline
from cutlayer.edge.send import send
from cutlayer.errors import ConnectionLost, DeadlineExceeded, DecodeError, QueueError, Refused, SplitError, Unreachable
from cutlayer.registry import defense_from
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.handshake import Metadata, metadata_reply
from cutlayer.wire.message import Inference, Kind, infer_reply, read_infer_request
from cutlayer.wire.transport import Timeouts
from tests.cloud_process import CloudProcess
from tests.edge_process import EdgeProcess, assert_all_once_in_order
from tests.tiny_split import CLASSES, images, serving, write_split

ROOM = 1 << 20
GONE = Unreachable("no server")


class Cloud:
    """A server that a test can switch off or hold, and that keeps the requests that arrived."""

    def __init__(self, manifest):
        self.manifest, self.arrived = manifest, []
        self.error, self.lose_answers = None, False
        self.answering, self.asked = threading.Event(), threading.Event()
        self.answering.set()

    def request(self, message, timeout_s):
        self.asked.set()
        if not self.answering.wait(min(timeout_s, 60)):
            raise DeadlineExceeded("no answer in time")
        if self.error is not None:
            raise self.error
        if message.kind is Kind.METADATA:
            return metadata_reply(Metadata("tiny@relu", (self.manifest.version,)))
        request = read_infer_request(message)
        smashed = request.tensors["smashed"]
        self.arrived.append((request.id, bytes(smashed.data)))
        if self.lose_answers:
            raise Unreachable("the answer was lost")
        logits = Raw().encode(np.zeros((smashed.shape[0], CLASSES), np.float32))
        return infer_reply(Inference(request.model, request.version, request.id, {"logits": logits}))

    def close(self):
        self.answering.set()


class Bench:
    """A device, and a server that can be away."""

    def __init__(self, folder, do, defense=None, most_bytes=ROOM, drop_oldest=False, wait_s=30.0):
        self.folder, self.index = folder, 0
        self.manifest = open_split(folder).manifest
        self.cloud = Cloud(self.manifest)
        self.head = open_split(folder).head()
        self.policy = OfflinePolicy(do, folder.parent / "queue", most_bytes, drop_oldest, wait_s)
        self.defense = defense or Defense()
        self.boot()

    def boot(self):
        """Start the device, perhaps again."""
        pipeline = Pipeline(self.head, self.defense, Raw())
        edge = Edge(self.manifest, pipeline, self.cloud, greet=False)
        self.offline = open_offline(self.policy, edge, open_split(self.folder), Timeouts(), self.head, 1)

    def ask(self, n=1):
        answers = []
        for _ in range(n):
            answers.append(self.offline.infer(images(1, seed=self.index), self.index))
            self.index += 1
        return [answer is not None for answer in answers]

    def comes_back(self):
        """Let the server answer, and wait until the device has found it and has sent what waited."""
        self.cloud.error = None
        until = time.monotonic() + 20
        while not self.offline.reachable():
            assert time.monotonic() < until, "the server was not found again"
            time.sleep(0.005)
        self.offline.flush()

    def indices(self):
        return [int(id.rpartition("-")[2]) for id, _ in self.cloud.arrived]


@pytest.fixture
def bench(folder, monkeypatch):
    """A function that makes a device with this policy; all of them are closed afterwards."""
    impatient = partial(Lookout, first_pause_s=0.01, most_pause_s=0.01)
    monkeypatch.setattr("cutlayer.edge.offline.replay.Lookout", impatient)
    with contextlib.ExitStack() as opened:

        def make(do, **options):
            device = Bench(folder, do, **options)
            opened.callback(lambda: device.offline.close(device.cloud))
            return device

        yield make


def test_a_queue_is_sent_in_order_once_the_server_is_back(bench):
    device = bench("queue")
    assert device.ask(2) == [True, True]
    device.cloud.error = GONE
    assert device.ask(3) == [False] * 3
    device.cloud.answering.clear()
    device.cloud.error = None
    assert device.ask() == [False], "a request overtook those that wait"
    device.cloud.answering.set()
    device.comes_back()
    assert device.ask() == [True]
    assert device.indices() == list(range(7))
    counts = device.offline.counts
    assert (counts.queued, counts.replayed, counts.waiting, counts.dropped) == (4, 4, 0, 0)
    assert [id.rpartition("-")[2] for id in device.offline.collect()] == ["2", "3", "4", "5"]
    assert not device.offline.collect()


@pytest.mark.parametrize("do", ["queue", "local", "drop"])
def test_requests_do_not_wait_while_an_attempt_to_reach_the_server_hangs(bench, do):
    device = bench(do, wait_s=0.01)
    device.cloud.answering.clear()
    assert device.ask(20) == [False] * 20
    assert device.cloud.asked.is_set(), "nobody looked for the server"
    assert not device.cloud.arrived


def test_requests_do_not_wait_for_a_server_that_does_not_answer_in_time(bench):
    device = bench("queue", wait_s=30.0)
    assert device.ask() == [True]
    device.cloud.answering.clear()
    device.offline.wait_s = 0.01
    device.ask()
    device.offline.wait_s = 1e9
    assert device.ask(20) == [False] * 20, "a request waited behind one that is unanswered"
    device.cloud.answering.set()
    device.offline.flush()
    assert device.indices() == list(range(22))
    device.ask()
    device.offline.flush()
    assert device.ask() == [True], "the server is prompt again, and nobody waits for it"


def test_a_device_that_is_stopped_while_it_sends_the_queue_loses_nothing(bench):
    device = bench("queue")
    device.cloud.error = GONE
    device.ask(3)
    device.cloud.asked.clear()
    device.cloud.answering.clear()
    device.cloud.error = None
    device.offline._lookout.here = True  # so that the next thing the thread does is to send
    device.ask()
    assert device.cloud.asked.wait(20)
    device.offline.close(device.cloud)
    device.boot()
    device.comes_back()
    assert sorted(set(device.indices())) == [0, 1, 2, 3]
    assert device.offline.counts.waiting == 0


def test_a_request_that_a_full_queue_drops_while_it_is_sent_is_counted_once(bench):
    device = bench("queue", most_bytes=2000, drop_oldest=True)
    device.cloud.error = GONE
    device.ask()
    device.cloud.answering.clear()
    device.cloud.error = None
    device.ask(40)
    device.cloud.answering.set()
    device.comes_back()
    counts = device.offline.counts
    assert counts.waiting == 0
    assert counts.replayed + counts.dropped == 41
    assert len(device.cloud.arrived) == counts.replayed


def test_the_server_is_not_looked_for_at_every_request():
    now, looks = 0.0, []

    def look():
        looks.append(now)
        raise GONE

    lookout = Lookout(look, clock=lambda: now)
    for _ in range(200):
        if not lookout.due_in_s():
            lookout.look()
        now += 1.0
    assert looks[:4] == [0, 1, 3, 7]
    assert np.diff(looks).max() == 30


def test_requests_of_a_killed_device_are_sent_first_by_the_next(bench):
    device = bench("queue")
    device.cloud.error = GONE
    device.ask(3)
    device.offline.close(device.cloud)
    device.boot()
    device.cloud.error = None
    device.ask(2)
    device.comes_back()
    assert device.indices() == list(range(5))


def test_an_image_is_never_released_twice(bench):
    device = bench("queue", defense=defense_from({"name": "gaussian-noise", "sigma": 0.5}))
    device.cloud.lose_answers = True
    device.ask()
    device.cloud.lose_answers = False
    device.offline.close(device.cloud)
    device.boot()
    device.comes_back()
    assert len(device.cloud.arrived) >= 2
    assert len(set(device.cloud.arrived)) == 1, "another id, or another draw of the noise"


@pytest.mark.parametrize("queued", [True, False])
@pytest.mark.parametrize("code", ["OUT_OF_RANGE", "INVALID_ARGUMENT"])
def test_a_request_that_the_server_will_never_take_does_not_block_the_queue(bench, code, queued):
    device = bench("queue")
    device.cloud.error = GONE if queued else None
    answer = device.cloud.request
    refusals = [Refused(code, "It failed.")]

    def fails_once(message, timeout_s):
        if message.kind is Kind.INFER and device.cloud.error is None and refusals:
            raise refusals.pop()
        return answer(message, timeout_s)

    device.cloud.request = fails_once
    assert device.ask(2) == [False, not queued]
    device.comes_back()
    assert device.indices() == [1]
    assert (device.offline.counts.refused, device.offline.counts.waiting) == (1, 0)


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND"])
def test_a_server_that_refuses_the_device_ends_the_run_and_loses_no_request(bench, code):
    device = bench("queue")
    device.cloud.error = GONE
    device.ask(2)
    device.cloud.error = Refused(code, "No.")

    def until_it_is_known():
        # An attempt that began before is still of a server that is away.
        for _ in range(100):
            device.offline.flush()

    with pytest.raises((Refused, SplitError)):
        until_it_is_known()
    assert len(device.offline._queue) == 2


@pytest.mark.parametrize(
    "error", [Refused("UNAUTHENTICATED", "No."), Refused("INTERNAL", "It failed."), DecodeError("What is this?")]
)
def test_a_server_that_does_not_admit_the_device_for_a_while_loses_no_request_and_is_asked_again(bench, error):
    device = bench("queue")
    device.cloud.error = error
    assert device.ask(3) == [False] * 3
    device.offline.flush()
    assert str(error) in str(device.offline.counts)
    device.comes_back()
    assert sorted(device.indices()) == [0, 1, 2]
    assert not device.offline.counts.why


@pytest.mark.parametrize("error", [Refused("INTERNAL", "It failed."), DecodeError("What is this?")])
@pytest.mark.parametrize(("do", "count"), [("local", "local"), ("drop", "dropped")])
def test_a_server_that_fails_counts_as_away_without_a_queue(bench, do, count, error):
    device = bench(do)
    assert device.ask() == [True]
    device.cloud.error = error
    assert device.ask(3) == [False] * 3
    device.comes_back()
    assert device.ask() == [True]
    assert getattr(device.offline.counts, count) == 3


def test_a_request_that_failed_is_sent_again_though_nobody_makes_another(bench, monkeypatch):
    monkeypatch.setattr("cutlayer.edge.offline.replay.PASSED_S", 0.01)
    device = bench("queue")
    assert device.ask() == [True]
    device.cloud.error = Refused("INTERNAL", "It failed.")
    assert device.ask() == [False]
    assert str(device.offline.counts).endswith("the next run sends them first (It failed.)")
    device.cloud.error = None
    until = time.monotonic() + 20
    while device.offline.counts.waiting:
        assert time.monotonic() < until
        time.sleep(0.005)
    assert device.indices() == [0, 1]


@pytest.mark.parametrize("error", [ConnectionLost("lost"), Unreachable("gone"), DeadlineExceeded("late")])
def test_a_request_that_ends_or_holds_the_server_each_time_does_not_block_the_queue(bench, error):
    device = bench("queue")
    answer = device.cloud.request

    def fails(message, timeout_s):
        if message.kind is Kind.INFER and read_infer_request(message).id.endswith("-2"):
            raise error
        return answer(message, timeout_s)

    device.cloud.request = fails
    device.ask(12)
    until = time.monotonic() + 20
    while device.offline.counts.waiting:
        assert time.monotonic() < until, device.offline.counts
        device.offline.flush()
    assert (device.offline.counts.failed, device.offline.counts.refused) == (1, 0)
    assert device.indices() == [index for index in range(12) if index != 2]


def test_a_full_queue_ends_the_run(bench):
    device = bench("queue", most_bytes=2000)
    device.cloud.error = GONE
    with pytest.raises(QueueError, match="is full"):
        device.ask(20)


def test_a_queue_of_another_split_is_refused(bench, folder):
    device = bench("queue")
    device.cloud.error = GONE
    device.ask(2)
    device.offline.close(device.cloud)
    device.manifest = write_split(folder, seed=1)
    with pytest.raises(QueueError, match="holds 2 requests of another split, tiny@relu"):
        device.boot()
    device.manifest = write_split(folder)
    device.boot()


def test_local_gives_the_answers_of_the_server_and_sends_nothing(bench, folder):
    device = bench("local")
    device.cloud.error = GONE
    assert device.ask(3) == [False] * 3
    for index, (id, logits) in enumerate(device.offline.collect().items()):
        assert id.endswith(f"-{index}")
        whole = open_split(folder).tail(threads=1)(device.head(images(1, seed=index)))
        np.testing.assert_array_equal(logits, whole)
    device.comes_back()
    assert device.ask() == [True]
    assert device.indices() == [3]
    assert device.offline.counts.local == 3


def test_local_needs_the_tail(bench, folder):
    (folder / "tail.onnx").unlink()
    with pytest.raises(SplitError, match=r"tail\.onnx is missing"):
        bench("local")


def test_drop_counts(bench):
    device = bench("drop")
    device.cloud.error = GONE
    assert device.ask(3) == [False] * 3
    device.comes_back()
    assert device.ask(2) == [True, True]
    assert device.indices() == [3, 4]
    assert device.offline.counts.dropped == 3


@pytest.mark.parametrize("do", ["local", "queue", "drop"])
def test_a_run_without_a_server_reports_its_requests(folder, tmp_path, do):
    part = Dataset(images(4), np.arange(4) % CLASSES)
    summary = send(
        folder,
        "inprocess://nobody",
        data=Splits("toy", (), part, part, part, part),
        count=4,
        policy=OfflinePolicy(do, tmp_path / "queue"),
    )
    assert summary.n == 0
    tail, head = open_split(folder).tail(threads=1), open_split(folder).head()
    right = np.mean(tail(head(part.inputs)).argmax(axis=1) == part.labels)
    ending = {
        "local": f"4 local; {right:.1%} of 4 test inputs right",
        "queue": "4 queued\n4 requests wait in",
        "drop": "4 dropped",
    }[do]
    assert str(summary).startswith(f"while the server was away: {ending}")


def test_a_device_that_ends_while_it_looks_for_the_server_does_not_call_it_away(folder, tmp_path, caplog):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"zmq://127.0.0.1:{silent.getsockname()[1]}"
        transport = connect(address, Timeouts(connect_s=20))
        split = open_split(folder)
        pipeline = Pipeline(split.head(), Defense(), Raw())
        edge = Edge(split.manifest, pipeline, transport, Timeouts(), greet=False)
        queue = Queue(tmp_path / "queue", ROOM)
        offline = Offline(edge, split.manifest, Lookout(lambda: edge.shake_hands(20)), queue=queue)
        silent.accept()[0].close()
        offline.close(transport)
    assert not caplog.messages


def test_what_was_set_aside_is_sent_by_the_command_that_the_summary_names(folder, tmp_path):
    part = Dataset(images(8), np.arange(8) % CLASSES)
    toy, refused = Splits("toy", (), part, part, part, part), Refused("INVALID_ARGUMENT", "Not\x1b[2J now.")

    def run(queue, count):
        options = {"data": toy, "count": count, "warmup": 0, "policy": OfflinePolicy("queue", queue)}
        return str(send(folder, str(server.address), **options))

    service = Service(open_split(folder).manifest, open_split(folder).tail(threads=1))
    fault, take = [refused], service.submit

    def submit(request, arrived_ns, caller, *, lend=False):
        if fault and request.kind is Kind.INFER and int(read_infer_request(request).id.rpartition("-")[2]) == 3:
            caller.answer(fault[0], lambda: None)
        else:
            take(request, arrived_ns, caller, lend=lend)

    service.submit = submit
    server = listen("zmq://127.0.0.1:0", service)
    try:
        summary = run(tmp_path / "queue", 8)
        assert "accuracy: " in summary
        # On a busy machine the thread of the queue may send one that would have been sent at once.
        *_, away, last = summary.splitlines()
        answered, replayed = re.search(r"\(n = (\d+)\)", summary), re.search(r"(\d+) replayed", away)
        assert int(answered[1]) + int(replayed[1] if replayed else 0) == 7
        assert away.startswith("while the server was away: ")
        assert "1 refused" in away
        aside = tmp_path / "queue" / "set-aside"
        assert last == (
            f"set aside in {aside}: 1, the last because of INVALID_ARGUMENT: Not\\x1b[2J now. To send what is there: "
            f"--queue {aside} --count 0"
        )
        fault.clear()
        command = ["edge", folder, "--connect", server.address, "--data", "random", "--on-offline", "queue"]
        done = subprocess.run(
            [sys.executable, "-m", "cutlayer.cli", *map(str, [*command, "--queue", aside, "--count", "0"])],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("while the server was away: 1 replayed\n", "")
    finally:
        server.close()
        service.drain()


def test_a_queue_without_room_is_refused_before_anything_else(folder):
    command = ["edge", folder, "--on-offline", "queue", "--queue-mib", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "cutlayer.cli", *map(str, command)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "cutlayer: --queue-mib must be 1 to 1,048,576; 0 was given.\n")


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_kill_9_of_device_and_server_loses_nothing_and_records_nothing_twice(tmp_path, transport):
    write_split(tmp_path / "split")
    cloud = CloudProcess(tmp_path / "split", f"{transport}://127.0.0.1:0", tmp_path / "tap", ("--durable",))
    ids = []
    with cloud:
        # The server and then the device are killed; unanswered requests are in the queue.
        device = EdgeProcess(tmp_path, cloud.address)
        ids += device.wait_for(50)
        cloud.kill()
        ids += device.wait_for(20)
        ids += device.kill()
        # Without a server all requests are queued, and the device is killed while it writes.
        device = EdgeProcess(tmp_path, cloud.address)
        ids += device.wait_for(100)
        ids += device.kill()
        # The device is killed while it sends queued requests.
        cloud.start()
        device = EdgeProcess(tmp_path, cloud.address)
        ids += device.wait_for(1)
        ids += device.kill()
        ids += EdgeProcess(tmp_path, cloud.address, 5).end()
        assert cloud.stop() == 0, cloud.errors
    recorded = [header["id"] for header, _ in read(tmp_path / "tap")]
    assert_all_once_in_order(ids, recorded)


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_a_server_that_answers_late_computes_each_request_once(folder, tmp_path, transport):
    tail, go_on, computed = open_split(folder).tail(threads=1), threading.Event(), []

    def late(smashed):
        assert go_on.wait(60)
        computed.append(len(smashed))
        return tail(smashed)

    with serving(folder, transport, late) as client:
        manifest, head = open_split(folder).manifest, open_split(folder).head()
        edge = Edge(manifest, Pipeline(head, Defense(), Raw()), client, Timeouts(request_s=0.2), greet=False)
        lookout = Lookout(lambda: edge.shake_hands(1.0), first_pause_s=0.01, most_pause_s=0.01)
        offline = Offline(edge, manifest, lookout, queue=Queue(tmp_path / "queue", ROOM), wait_s=0.2)
        assert [offline.infer(images(1, seed=index), index) for index in range(3)] == [None] * 3
        go_on.set()
        while offline.counts.waiting:
            offline.flush()
        late = offline.collect()
        offline.close(client)
    assert sum(computed) == 3
    for index in range(3):
        expected = tail(head(images(1, seed=index)))
        np.testing.assert_allclose(late[edge.request_id(index)], expected, rtol=1e-5)


def test_two_devices_do_not_share_a_queue(folder, tmp_path):
    first = EdgeProcess(tmp_path, "zmq://127.0.0.1:9")
    ids = first.wait_for(1)
    second = EdgeProcess(tmp_path, "zmq://127.0.0.1:9")
    _, errors = second.process.communicate(timeout=60)
    assert second.process.returncode
    assert f"queue is in use by process {first.process.pid} on " in errors
    ids += first.kill()
    queue = Queue(tmp_path / "queue", ROOM)
    assert len(queue) >= len(ids)
    queue.close()


def test_the_queue_can_be_read_by_its_owner_alone(tmp_path):
    write_split(tmp_path / "split")
    device = Bench(tmp_path / "split", "queue")
    device.cloud.error = GONE
    device.ask()
    device.offline.close(device.cloud)
    assert {os.stat(path).st_mode & 0o077 for path in tmp_path.glob("queue/*.queue")} == {0}
