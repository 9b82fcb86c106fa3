import contextlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

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
from cutlayer.errors import QueueError, Refused, SplitError, Unreachable
from cutlayer.registry import defense_from
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.handshake import Metadata, metadata_reply
from cutlayer.wire.message import Inference, Kind, infer_reply, read_infer_request
from cutlayer.wire.transport import Timeouts
from tests.cloud_process import CloudProcess
from tests.edge_process import EdgeProcess, assert_all_once_in_order
from tests.tiny_split import CLASSES, images, serving, write_split

ROOM = 1 << 20
GONE = Unreachable("no server")
PAUSE_S = 10.0


class Cloud:
    """A server that a test can switch off, and that keeps the requests that arrived."""

    def __init__(self, manifest):
        self.manifest, self.arrived, self.looks = manifest, [], 0
        self.error, self.lose_answers = None, False

    def request(self, message, timeout_s):
        if message.kind is Kind.METADATA:
            self.looks += 1
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


class Bench:
    """A device, a server that can be away, and a clock."""

    def __init__(self, folder, do, defense=None, most_bytes=ROOM):
        self.folder, self.now, self.index = folder, 0.0, 0
        self.manifest = open_split(folder).manifest
        self.cloud = Cloud(self.manifest)
        self.head = open_split(folder).head()
        self.policy = OfflinePolicy(do, folder.parent / "queue", most_bytes)
        self.defense = defense or Defense()
        self.boot()

    def boot(self):
        """Start the device, perhaps again."""
        pipeline = Pipeline(self.head, self.defense, Raw())
        edge = Edge(self.manifest, pipeline, self.cloud, greet=False)
        self.offline = open_offline(self.policy, edge, open_split(self.folder), Timeouts(), self.head, 1)
        self.offline.lookout._clock = lambda: self.now

    def ask(self, n=1):
        answers = []
        for _ in range(n):
            answers.append(self.offline.infer(images(1, seed=self.index), self.index))
            self.index += 1
        return [answer is not None for answer in answers]

    def indices(self):
        return [int(id.rpartition("-")[2]) for id, _ in self.cloud.arrived]


@pytest.fixture
def bench(folder):
    """A function that makes a device with this policy; all of them are closed afterwards."""
    with contextlib.ExitStack() as opened:

        def make(do, **options):
            device = Bench(folder, do, **options)
            opened.callback(lambda: device.offline.close())
            return device

        yield make


def test_a_queue_is_sent_in_order_once_the_server_is_back(bench):
    device = bench("queue")
    assert device.ask(2) == [True, True]
    device.cloud.error = GONE
    assert device.ask(3) == [False] * 3
    device.cloud.error = None
    assert device.ask() == [False], "a request overtook those that wait"
    device.now += PAUSE_S
    assert device.ask() == [False]
    assert device.ask() == [True]
    assert device.indices() == list(range(8))
    counts = device.offline.counts
    assert (counts.queued, counts.replayed, counts.waiting, counts.dropped) == (4, 5, 0, 0)
    assert [id.rpartition("-")[2] for id in device.offline.late] == ["2", "3", "4", "5", "6"]


def test_the_server_is_not_looked_for_at_every_request(bench):
    device = bench("queue")
    device.cloud.error = GONE
    device.ask(50)
    assert device.cloud.looks == 1
    for _ in range(200):
        device.now += 1.0
        device.ask()
    assert device.cloud.looks < 15


def test_requests_of_a_killed_device_are_sent_first_by_the_next(bench):
    device = bench("queue")
    device.cloud.error = GONE
    device.ask(3)
    device.offline.close()
    device.boot()
    device.cloud.error = None
    device.ask(2)
    assert device.indices() == list(range(5))


def test_an_image_is_never_released_twice(bench):
    device = bench("queue", defense=defense_from({"name": "gaussian-noise", "sigma": 0.5}))
    device.cloud.lose_answers = True
    device.ask()
    device.cloud.lose_answers = False
    device.offline.close()
    device.boot()
    device.offline.finish()
    first, again = device.cloud.arrived
    assert first == again, "another id, or another draw of the noise"


@pytest.mark.parametrize("queued", [True, False])
@pytest.mark.parametrize("code", ["INTERNAL", "INVALID_ARGUMENT"])
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
    device.cloud.error = None
    device.offline.finish()
    assert device.indices() == [1]
    assert (device.offline.counts.refused, device.offline.counts.waiting) == (1, 0)


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "NOT_FOUND"])
def test_a_server_that_refuses_the_device_ends_the_run_and_loses_no_request(bench, code):
    device = bench("queue")
    device.cloud.error = GONE
    device.ask(2)
    device.cloud.error = Refused(code, "No.")
    with pytest.raises((Refused, SplitError)):
        device.offline.finish()
    assert len(device.offline._queue) == 2


def test_a_full_queue_ends_the_run(bench):
    device = bench("queue", most_bytes=2000)
    device.cloud.error = GONE
    with pytest.raises(QueueError, match="is full"):
        device.ask(20)


def test_a_queue_of_another_split_is_refused(bench, folder):
    device = bench("queue")
    device.cloud.error = GONE
    device.ask(2)
    device.offline.close()
    device.manifest = write_split(folder, seed=1)
    with pytest.raises(QueueError, match="holds 2 requests of another split, tiny@relu"):
        device.boot()
    device.manifest = write_split(folder)
    device.boot()


def test_local_gives_the_answers_of_the_server_and_sends_nothing(bench, folder):
    device = bench("local")
    device.cloud.error = GONE
    assert device.ask(3) == [False] * 3
    for index, (id, logits) in enumerate(device.offline.late.items()):
        assert id.endswith(f"-{index}")
        whole = open_split(folder).tail(threads=1)(device.head(images(1, seed=index)))
        np.testing.assert_array_equal(logits, whole)
    device.cloud.error = None
    device.now += PAUSE_S
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
    device.cloud.error, device.now = None, PAUSE_S
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
        "local": f"4 local; {right:.1%} of 4 test images right",
        "queue": "4 queued\n4 requests wait in",
        "drop": "4 dropped",
    }[do]
    assert str(summary).startswith(f"while the server was away: {ending}")


def test_a_queue_without_room_is_refused_before_anything_else(folder):
    command = ["edge", folder, "--on-offline", "queue", "--queue-mib", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "cutlayer.cli", *map(str, command)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "cutlayer: --queue-mib must be 1 or more; 0 was given.\n")


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
        offline = Offline(edge, manifest, lookout, queue=Queue(tmp_path / "queue", ROOM))
        assert [offline.infer(images(1, seed=index), index) for index in range(3)] == [None] * 3
        go_on.set()
        while offline.counts.waiting:
            offline.finish()
        offline.close()
    assert sum(computed) == 3
    for index in range(3):
        expected = tail(head(images(1, seed=index)))
        np.testing.assert_allclose(offline.late[edge.request_id(index)], expected, rtol=1e-5)


def test_two_devices_do_not_share_a_queue(folder, tmp_path):
    first = EdgeProcess(tmp_path, "zmq://127.0.0.1:9")
    ids = first.wait_for(1)
    second = EdgeProcess(tmp_path, "zmq://127.0.0.1:9")
    _, errors = second.process.communicate(timeout=60)
    assert second.process.returncode
    assert "Another process uses the queue" in errors
    ids += first.kill()
    queue = Queue(tmp_path / "queue", ROOM)
    assert len(queue) >= len(ids)
    queue.close()


def test_the_queue_can_be_read_by_its_owner_alone(tmp_path):
    write_split(tmp_path / "split")
    device = Bench(tmp_path / "split", "queue")
    device.cloud.error = GONE
    device.ask()
    device.offline.close()
    assert {os.stat(path).st_mode & 0o077 for path in tmp_path.glob("queue/*.queue")} == {0}
