"""Devices that join a room: real sockets, real processes, wishes, a server that goes away, and bad input."""

import contextlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from cutlayer.edge.joined import join
from cutlayer.edge.wishes import Consent
from cutlayer.errors import ConfigError, DataError, Unreachable
from cutlayer.wire.join_code import JoinCode
from cutlayer.wire.security import Security
from tests.live.rooms import PATIENCE_S, Page, ask, introduced, tiny_room, write_room


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joined")
    write_room(folder)
    return folder


@pytest.fixture(scope="module")
def opened(folder):
    with tiny_room(folder) as opened:
        yield opened


@contextlib.contextmanager
def present(opened, folder, **options):
    """A device that stays in the room during the block, and ends without an error."""
    stop = threading.Event()
    running = device(opened, folder, stop=stop, **options)
    try:
        yield
    finally:
        stop.set()
        ended(*running)


def device(opened, folder, **options):
    """Join in a thread; the thread, and the errors that end it."""
    errors = []
    given = {"name": "device", "data": str(folder / "data.npz"), "rate": 50.0, **options}

    def run():
        try:
            join(opened.code, **given)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, errors


def ended(thread, errors):
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert errors == []


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_a_device_joins_sends_and_leaves(opened, folder, transport):
    with Page(opened) as page:
        with present(opened, folder, transport=transport, name=f"over {transport}"):
            shown = page.until(lambda message: message.get("end_to_end_ms") and message["name"] == f"over {transport}")
            assert shown["bytes"] > 0
            assert {"head", "protect", "encode", "network", "tail"} <= shown["stages_ms"].keys()
            assert shown["defense"] == "none"
        page.until(lambda message: message == {"type": "gone", "id": shown["id"]})


def test_a_device_does_what_its_user_allows_and_says_why_it_does_not(opened, folder):
    with Page(opened) as page:
        consent = Consent.of(["gaussian-noise"], "gaussian-noise=0.5")
        with present(opened, folder, name="careful", consent=consent):
            told_and_refused(page)


def told_and_refused(page):
    shown = page.until(lambda message: message.get("prediction") and message["name"] == "careful")
    assert shown["defense"] == "gaussian-noise sigma=0.5"
    assert shown["allows"] == ["gaussian-noise"]
    page.wish(shown["id"], "gaussian-noise", codec="int8", sigma=3)
    page.until(lambda message: message.get("defense") == "gaussian-noise sigma=3")
    page.wish(shown["id"], "none")
    refused = page.until(lambda message: message.get("refused"))
    assert refused["refused"] == "This device does not go below gaussian-noise sigma=0.5."
    page.wish(shown["id"], "dropout", rate=0.5)
    page.until(lambda message: "dropout was asked for" in (message.get("refused") or ""))
    still = page.until(lambda message: message.get("name") == "careful")
    assert still["defense"] == "gaussian-noise sigma=3"


def test_originals_leave_the_device_only_when_its_user_says_so(opened, folder):
    for shares in (False, True):
        running = device(opened, folder, name="seen", share_original=shares, count=30)
        known, deadline = [], time.monotonic() + PATIENCE_S
        while running[0].is_alive() and time.monotonic() < deadline:
            known += [len(one.originals) for one in list(opened.room._devices.values())]
            time.sleep(0.005)
        ended(*running)
        assert bool(sum(known)) == shares


class LiveProcess:
    """`cutlayer live` as a user starts it, at a port that stays over restarts."""

    def __init__(self, folder, *options):
        given = ["--data", folder / "data.npz", "--attacks", "mean-image", "--out", folder / "kept", *options]
        self._command = [sys.executable, "-m", "cutlayer.cli", "live", str(folder / "split"), *map(str, given)]
        self._port = "0"

    def start(self):
        command = [*self._command, "--port", self._port]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        lines = {}
        for line in self.process.stdout:
            words = line.split(None, 1)
            lines[words[0]] = words[1].strip()
            if words[0] == "ready":
                break
        self.screen = lines["page"]
        self.code = JoinCode.parse(lines["devices"].split("'")[1])
        self._port = str(self.code.port)

    def end(self, number):
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


@contextlib.contextmanager
def live(folder, *options):
    process = LiveProcess(folder, *options)
    process.start()
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


def test_a_device_comes_back_by_itself_when_the_server_was_killed(folder):
    with live(folder) as server, present(server, folder, name="faithful", rate=20.0):
        first = str(server.code)
        with Page(server) as page:
            shown = page.until(lambda message: message.get("prediction") and message["name"] == "faithful")
            page.wish(shown["id"], "dropout", rate=0.5)
            page.until(lambda message: message.get("defense") == "dropout rate=0.5")
        server.end(signal.SIGKILL)
        server.start()
        assert str(server.code) == first  # the tokens are kept, or nobody could come back
        with Page(server) as page:
            page.until(lambda message: message.get("prediction") and message["name"] == "faithful")


def test_ctrl_c_ends_a_device_which_leaves_the_room(opened, folder):
    command = [sys.executable, "-m", "cutlayer.cli", "edge", "--join", str(opened.code), "--name", "leaving", "--data",
               str(folder / "data.npz")]  # fmt: skip
    with Page(opened) as page:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        shown = page.until(lambda message: message.get("prediction") and message["name"] == "leaving")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
        page.until(lambda message: message == {"type": "gone", "id": shown["id"]})
    assert (process.returncode, err) == (130, "")
    assert out.startswith("joined http://127.0.0.1:")
    assert opened.code.token not in out


def refusal(opened, kind, **options):
    with pytest.raises(kind) as refused:
        join(opened, **{"name": "x", "count": 1, **options})
    return str(refused.value)


def test_each_kind_of_bad_input_gets_one_sentence(opened, folder, tmp_path):
    code = opened.code
    wrong = JoinCode(code.scheme, code.host, code.port, "A" * 32)
    assert "not one of this room" in refusal(wrong, ConfigError)
    assert "--port" not in (nobody := refusal(JoinCode("http", "127.0.0.1", 1, "A" * 32), Unreachable))
    assert nobody.startswith("No room answers at http://127.0.0.1:1")
    assert "plain text" in refusal(JoinCode("http", "192.0.2.1", 1, "A" * 32), ConfigError)
    (tmp_path / "empty").mkdir()
    assert "has no image; --images takes a folder of pictures" in refusal(code, DataError, images=tmp_path / "empty")
    (tmp_path / "empty" / "broken.png").write_bytes(b"no picture")
    assert refusal(code, DataError, images=tmp_path / "empty") == "None of the images can be read."
    assert "exclude each other" in refusal(code, ConfigError, images=tmp_path, data="digits")
    assert "no zmq" in refusal_of_transport(opened)
    assert "Name what to send" in refusal(code, ConfigError)


def refusal_of_transport(opened):
    there = opened.room.addresses.pop("zmq")
    try:
        return refusal(opened.code, ConfigError, transport="zmq", data="digits")
    finally:
        opened.room.addresses["zmq"] = there


def test_a_camera_that_is_not_there_is_named(opened):
    pytest.importorskip("cv2", reason="needs OpenCV")
    said = refusal(opened.code, DataError, camera="97")
    assert said.startswith("The camera 97 cannot be opened: there is none of this number, or another program uses it")


def test_one_device_too_many_is_told_so(folder):
    with tiny_room(folder, most_devices=1) as opened:
        ask(opened, "POST", "/device", introduced("first"))
        with pytest.raises(ConfigError, match=r"all of its 1 devices \(--most-devices\)"):
            join(opened.code, name="second", data=str(folder / "data.npz"), count=1)


def test_images_of_a_folder_are_sent_in_the_size_of_the_head(opened, folder, tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    for index in range(3):
        picture = np.random.default_rng(index).integers(0, 256, (40, 60, 3), np.uint8)
        pillow.fromarray(picture).save(tmp_path / f"{index}.png")
    ended(*device(opened, folder, images=tmp_path, data=None, count=5, name="pictures"))


def test_over_tls_the_fingerprint_decides(folder, tmp_path):
    from cutlayer.wire.certs import init

    init(tmp_path / "certs")
    init(tmp_path / "others")
    security = Security(cert=tmp_path / "certs/server.pem", key=tmp_path / "certs/server.key")
    secured = Security(**{**security.files, "curve_key": tmp_path / "certs/curve-server.key"})
    with tiny_room(folder, security=secured) as opened:
        assert opened.code.scheme == "https"
        for transport in ("grpc", "zmq"):
            ended(*device(opened, folder, count=3, transport=transport, name=transport))
        code = opened.code
        other = JoinCode(code.scheme, code.host, code.port, code.token, "0" * 64)
        assert "is not the one of this join code" in refusal(other, ConfigError, data="digits")
    with tiny_room(folder, security=security) as opened:
        assert opened.addresses.keys() == {"grpc"}
