import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from cutlayer.edge.offline.queue import SEGMENTS, Queue
from cutlayer.edge.offline.segment import OVERHEAD_BYTES
from cutlayer.errors import QueueError
from cutlayer.wire.message import Kind, Message

TENSOR_BYTES = 1000
RECORD_BYTES = OVERHEAD_BYTES + len(b"header 00000") + TENSOR_BYTES
ROOM = 1 << 20


def request(number):
    tensor = np.random.default_rng(number).bytes(TENSOR_BYTES)
    return Message(Kind.INFER, f"header {number:05}".encode(), (tensor,))


def numbers(queue):
    """Take all waiting requests out; return their numbers."""
    taken = []
    while len(queue):
        place, first = queue.first()
        number = int(first.header.split()[1])
        assert bytes(first.tensors[0]) == request(number).tensors[0]
        taken.append(number)
        assert queue.done(place)
    return taken


@pytest.fixture
def opened(tmp_path):
    """A function that opens the queue of this test; an earlier one must be closed."""
    queues = []

    def open_queue(most_bytes=ROOM, **options):
        queues.append(Queue(tmp_path / "queue", most_bytes, **options))
        return queues[-1]

    yield open_queue
    for queue in queues:
        queue.close()


def newest(folder):
    return max(folder.glob("queue/*.queue"))


def test_requests_come_out_in_order_also_in_a_later_process(opened, tmp_path):
    queue = opened()
    for number in range(5):
        assert queue.put(request(number))[1] == 0
    queue.done(queue.first()[0])
    queue.sync()
    queue.close()
    queue = opened()
    queue.put(request(5))
    assert len(queue) == 5
    assert numbers(queue) == [1, 2, 3, 4, 5]
    queue.close()
    assert not list(tmp_path.glob("queue/*.queue")), "a sent request is still on the disk"
    assert len(opened()) == 0


def test_a_segment_that_is_done_leaves_the_disk(opened, tmp_path):
    queue = opened(SEGMENTS * 2 * RECORD_BYTES)
    for number in range(200):
        queue.done(queue.put(request(number))[0])
    assert len(list(tmp_path.glob("queue/*.queue"))) == 1
    assert queue.nbytes <= 2 * RECORD_BYTES


def test_a_full_queue_refuses_new_requests_and_keeps_the_old(opened):
    queue = opened(10 * RECORD_BYTES)
    for number in range(10):
        queue.put(request(number))
    with pytest.raises(QueueError, match="10 requests wait"):
        queue.put(request(10))
    assert numbers(queue) == list(range(10))
    queue.put(request(11))
    assert numbers(queue) == [11]


def test_a_full_queue_gives_up_its_oldest_where_that_is_allowed(opened):
    queue = opened(2 * SEGMENTS * RECORD_BYTES, drop_oldest=True)
    dropped = sum(queue.put(request(number))[1] for number in range(100))
    assert queue.nbytes <= 2 * SEGMENTS * RECORD_BYTES
    left = numbers(queue)
    assert left == list(range(dropped, 100))
    assert len(left) >= 2 * SEGMENTS - 2


def test_a_request_beyond_the_whole_queue_is_refused(opened):
    with pytest.raises(QueueError, match="does not fit"):
        opened(RECORD_BYTES - 1, drop_oldest=True).put(request(0))


@pytest.mark.parametrize("left_bytes", [1, OVERHEAD_BYTES - 1, OVERHEAD_BYTES, RECORD_BYTES - 1])
def test_a_half_written_record_is_cut_off(opened, tmp_path, left_bytes, caplog):
    queue = opened()
    for number in range(3):
        queue.put(request(number))
    queue.close()
    os.truncate(newest(tmp_path), 2 * RECORD_BYTES + left_bytes)
    queue = opened()
    assert f"{left_bytes} bytes at {2 * RECORD_BYTES} are not a complete request" in caplog.text
    queue.put(request(3))
    queue.close()
    assert numbers(opened()) == [0, 1, 3]


def test_zeros_that_a_power_cut_left_are_cut_off(opened, tmp_path):
    queue = opened()
    queue.put(request(0))
    queue.close()
    os.truncate(newest(tmp_path), 5 * RECORD_BYTES)
    assert numbers(opened()) == [0]


@pytest.mark.parametrize("at", [0, 5, 9, 13, OVERHEAD_BYTES, RECORD_BYTES - 1])
def test_damage_before_the_end_loses_one_request_and_is_logged(opened, tmp_path, at, caplog):
    queue = opened()
    for number in range(3):
        queue.put(request(number))
    queue.close()
    with newest(tmp_path).open("r+b") as file:
        file.seek(RECORD_BYTES + at)
        byte = file.read(1)
        file.seek(RECORD_BYTES + at)
        file.write(bytes((byte[0] ^ 0x40,)))
    queue = opened()
    assert f"{RECORD_BYTES} bytes at {RECORD_BYTES} are not a complete request" in caplog.text
    queue.put(request(3))
    assert numbers(queue) == [0, 2, 3]


def test_a_disk_that_gives_back_something_else(opened, tmp_path):
    queue = opened()
    queue.put(request(0))
    newest(tmp_path).write_bytes(b"")
    with pytest.raises(QueueError, match="has changed on the disk"):
        queue.first()


def test_two_processes_do_not_share_a_queue(opened):
    opened()
    with pytest.raises(QueueError, match=f"in use by process {os.getpid()} on "):
        opened()


def test_an_impossible_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(QueueError, match="not a directory"):
        Queue(tmp_path / "file" / "queue", ROOM)


FILL = """
import sys
from pathlib import Path
from cutlayer.errors import QueueError
from cutlayer.edge.offline.queue import Queue
from tests.edge.offline.test_queue import request, numbers
queue, put = Queue(Path(sys.argv[1]), 1 << 30), 0
try:
    for put in range(1000):
        queue.put(request(put))
except QueueError as error:
    print(error)
queue.close()
assert numbers(Queue(Path(sys.argv[1]), 1 << 30)) == list(range(put)), put
print(put)
"""


def test_a_full_disk_is_one_sentence_and_loses_no_request(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f'mount -t tmpfs -o size=64k tmpfs {disk} && exec "$0" "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow to mount a small disk")
    done = subprocess.run(
        [*command, sys.executable, "-c", FILL, str(disk / "queue")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sentence, put = done.stdout.splitlines()
    assert os.strerror(errno.ENOSPC).lower() in sentence
    assert 10 < int(put) < (64 << 10) // TENSOR_BYTES


def test_requests_are_done_in_any_order_and_others_passed_over(opened):
    queue = opened()
    places = [queue.put(request(number))[0] for number in range(4)]
    assert queue.first({places[0]})[0] == places[1]
    assert queue.done(places[2])
    assert not queue.done(places[2])
    assert [queue.holds(place) for place in places] == [True, True, False, True]
    queue.close()
    assert numbers(opened()) == [0, 1, 3]


def test_a_request_that_is_set_aside_keeps_its_reason_and_can_be_read_as_a_queue(opened, tmp_path):
    queue = opened()
    places = [queue.put(request(number))[0] for number in range(3)]
    assert queue.set_aside(places[1], "INTERNAL: café") == (True, 0)
    assert queue.set_aside(places[0], "UNKNOWN: no") == (True, 0)
    assert queue.set_aside(places[0], "UNKNOWN: no") == (False, 0)
    assert numbers(queue) == [2]
    queue.close()
    aside = Queue(tmp_path / "queue" / "set-aside", ROOM)
    assert aside.reasons == ["INTERNAL: café", "UNKNOWN: no"]
    assert numbers(aside) == [1, 0]
    assert aside.reasons == []
    aside.close()


def test_set_aside_has_the_limit_of_the_queue(opened):
    queue = opened(3 * RECORD_BYTES, drop_oldest=True)
    dropped = 0
    for number in range(5):
        place, _ = queue.put(request(number))
        dropped += queue.set_aside(place, "no")[1]
    assert dropped == 3
    queue.close()
    queue = opened(3 * RECORD_BYTES)
    place, _ = queue.put(request(5))
    with pytest.raises(QueueError, match="set-aside is full"):
        queue.set_aside(place, "no")
    assert queue.holds(place), "the request that found no room still waits"


def test_a_damaged_request_takes_its_reason_along(opened, tmp_path):
    queue = opened()
    for number in range(2):
        queue.put(request(number), f"because {number}")
    queue.close()
    path = newest(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(b"header 00000")] ^= 1
    path.write_bytes(data)
    queue = opened()
    assert queue.reasons == ["because 1"]
    assert numbers(queue) == [1]


def test_a_planted_link_is_not_cut_off(tmp_path):
    (tmp_path / "victim").write_text("years of work")
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "0000000001.queue").symlink_to(tmp_path / "victim")
    with pytest.raises(QueueError, match="it is a link"):
        Queue(tmp_path / "queue", 1 << 20)
    assert (tmp_path / "victim").read_text() == "years of work"
