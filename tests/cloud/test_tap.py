import errno
import json
import os
import threading

import numpy as np
import pytest

from cutlayer.cloud.tap import BYTES, RECORDS, Tap, read
from cutlayer.errors import BusyError, DataError, WriteError
from cutlayer.wire.codecs.fp16 import Float16
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.message import Inference, Kind, Message, infer_request
from tests.tiny_split import edge_at, images, serving, write_split


def request(number, codec=None):
    smashed = np.full((1, 2, 3), number, np.float32)
    return infer_request(
        Inference("m", "v", f"s-{number}", {"smashed": (codec or Raw()).encode(smashed)}, {"session": "s"})
    )


def write(folder, *messages):
    tap = Tap(folder)
    for message in messages:
        tap.record(message)
    tap.close()


def ids(folder):
    return [header["id"] for header, _ in read(folder)]


@pytest.mark.parametrize("transport", ["grpc", "zmq", "inprocess"])
@pytest.mark.parametrize("codec", [Raw(), Float16()])
def test_the_tap_holds_exactly_what_left_the_device(tmp_path, transport, codec):
    write_split(tmp_path / "split")
    tap = Tap(tmp_path / "tap")
    with serving(tmp_path / "split", transport, tap=tap) as client:
        edge = edge_at(tmp_path / "split", client, codec=codec)
        for index in range(3):
            edge.infer(images(1 + index, seed=index), index)
    tap.close()

    records = list(read(tmp_path / "tap"))
    assert [header["id"] for header, _ in records] == [edge.request_id(index) for index in range(3)]
    assert {header["session"] for header, _ in records} == {edge.session}
    for index, (_, smashed) in enumerate(records):
        np.testing.assert_array_equal(
            smashed, edge._pipeline.wire(images(1 + index, seed=index), np.random.default_rng())
        )


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_a_slow_disk_adds_to_no_latency(tmp_path, transport):
    write_split(tmp_path / "split")
    tap, tapped, write_now = Tap(tmp_path / "tap"), threading.Event(), threading.Event()
    plainly = tap.write

    def slowly(message, owner):
        tapped.set()
        assert write_now.wait(20)
        plainly(message, owner)

    tap.write = slowly
    with serving(tmp_path / "split", transport, tap=tap) as client:
        edge = edge_at(tmp_path / "split", client)
        # While the tap's thread is stuck with the first record, further requests are answered.
        edge.infer(images(1), 0)
        assert tapped.wait(20)
        for index in range(1, 4):
            edge.infer(images(1), index)
        write_now.set()
    tap.close()
    assert ids(tmp_path / "tap") == [edge.request_id(index) for index in range(4)]


def test_only_inferences_that_can_be_read_are_kept(tmp_path):
    write(tmp_path, Message(Kind.METADATA, b""), Message(Kind.INFER, b"\xff"), request(1))
    assert ids(tmp_path) == ["s-1"]


def test_a_tap_goes_on_where_it_was(tmp_path):
    write(tmp_path, request(1))
    write(tmp_path, request(2, Float16()))
    assert [(header["id"], float(smashed.max())) for header, smashed in read(tmp_path)] == [("s-1", 1.0), ("s-2", 2.0)]


@pytest.mark.parametrize("lost", [1, 30])
def test_a_record_that_was_being_written_is_left_out_and_overwritten(tmp_path, lost):
    write(tmp_path, request(1), request(2))
    text = (tmp_path / RECORDS).read_bytes()
    (tmp_path / RECORDS).write_bytes(text[:-lost])
    assert ids(tmp_path) == ["s-1"]
    write(tmp_path, request(3))
    assert [(header["id"], float(smashed.max())) for header, smashed in read(tmp_path)] == [("s-1", 1.0), ("s-3", 3.0)]


def test_bytes_without_a_record_are_overwritten(tmp_path):
    write(tmp_path, request(1))
    with (tmp_path / BYTES).open("ab") as file:
        file.write(b"torn")
    write(tmp_path, request(2))
    assert [float(smashed.max()) for _, smashed in read(tmp_path)] == [1.0, 2.0]


class Full:
    """A file on a disk that is full in the middle of the next write."""

    def __init__(self, file):
        self.file, self.full = file, True

    def write(self, data):
        written = self.file.write(data[: len(data) // 2] if self.full else data)
        if self.full:
            self.full = False
            raise OSError(errno.ENOSPC, "No space left on device")
        return written

    def close(self):
        self.file.close()


@pytest.mark.parametrize("which", ["_bytes", "_records"])
def test_a_disk_that_was_full_costs_the_records_of_that_time_and_no_others(tmp_path, caplog, which):
    tap = Tap(tmp_path)
    tap.record_now(request(1))
    setattr(tap, which, Full(getattr(tap, which)))
    with pytest.raises(WriteError, match="no space left on device"):
        tap.record_now(request(2))
    for number in (2, 3):
        tap.record_now(request(number))
    tap.close()
    stopped, goes_on, lacks = caplog.messages
    assert "stopped" in stopped
    assert "goes on" in goes_on
    assert "lacks 1 requests" in lacks
    assert [np.unique(smashed).tolist() for _, smashed in read(tmp_path)] == [[1.0], [2.0], [3.0]]


@pytest.mark.parametrize("durable", [True, False])
def test_a_tap_that_was_cut_off_to_free_space_stops_and_goes_on_when_it_is_away(tmp_path, caplog, durable):
    tap = Tap(tmp_path, durable=durable)
    tap.record_now(request(1))
    tap._records = Full(tap._records)
    with pytest.raises(WriteError, match="no space left"):
        tap.record_now(request(2))
    (tmp_path / BYTES).write_bytes(b"")
    with pytest.raises(WriteError, match="ends before the bytes"):
        tap.record_now(request(3))
    tap.record(request(4))
    while tap.n_lost < 3:
        pass
    for name in (BYTES, RECORDS):
        (tmp_path / name).unlink()
    tap.record(request(5))
    tap.close()
    assert ids(tmp_path) == ["s-5"]
    assert "lacks 3 requests" in caplog.messages[-1]


def test_damage_elsewhere_is_an_error(tmp_path):
    write(tmp_path, request(1), request(2))
    lines = (tmp_path / RECORDS).read_text().splitlines()
    (tmp_path / RECORDS).write_text("{" + lines[0] + "\n" + lines[1] + "\n")
    with pytest.raises(DataError, match="line 1"):
        ids(tmp_path)
    (tmp_path / RECORDS).write_text(json.dumps({**json.loads(lines[0]), "offset": 1000}) + "\n")
    with pytest.raises(DataError, match="line 1"):
        ids(tmp_path)
    with pytest.raises(DataError, match="no tap"):
        ids(tmp_path / "elsewhere")


def test_an_empty_tap(tmp_path):
    write(tmp_path)
    assert ids(tmp_path) == []


@pytest.mark.parametrize("name", [BYTES, RECORDS])
def test_a_planted_link_is_not_cut_off(tmp_path, name):
    """A half-written record at the end of a tap is cut off, and so would be the file that the link leads to."""
    (tmp_path / "victim").write_text("years of work")
    write(tmp_path / "tap", request(1))
    (tmp_path / "tap" / name).unlink()
    (tmp_path / "tap" / name).symlink_to(tmp_path / "victim")
    with pytest.raises((WriteError, DataError)):
        Tap(tmp_path / "tap")
    assert (tmp_path / "victim").read_text() == "years of work"


def test_two_servers_do_not_share_a_tap(tmp_path):
    tap = Tap(tmp_path)
    with pytest.raises(BusyError, match=f"in use by process {os.getpid()} on "):
        Tap(tmp_path)
    tap.close()
    Tap(tmp_path).close()
