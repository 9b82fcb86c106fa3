"""The web server of a room, over real sockets: who is let in, what is refused, and what leaves with every answer."""

import json
import socket
import threading
import time

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from cutlayer.errors import ConfigError
from cutlayer.live.headers import POLICY
from cutlayer.live.serve import open_room
from cutlayer.live.tokens import Tokens
from cutlayer.split_folder import open_split
from cutlayer.wire.security import Security
from tests.live.rooms import PATIENCE_S, Page, ask, introduced, tiny_room, write_room
from tests.tiny_split import INPUT


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with tiny_room(tmp_path_factory.mktemp("room"), most_devices=3) as opened:
        yield opened


@pytest.fixture
def joined(opened):
    status, _, said = ask(opened, "POST", "/device", introduced(share_original=True))
    assert status == 200
    yield said
    ask(opened, "DELETE", f"/device/{said['id']}")


def test_a_device_gets_its_half_and_nothing_of_the_servers(opened):
    status, _, manifest = ask(opened, "GET", "/split/split.json")
    assert (status, manifest["model"]) == (200, "tiny")
    assert ask(opened, "GET", "/split/head.onnx")[0] == 200
    for name in ("tail.onnx", "tail.safetensors", "..%2fdata.npz", "%2e%2e", "split.json%00"):
        assert ask(opened, "GET", f"/split/{name}")[0] == 404, name


@pytest.mark.parametrize("path", ["/split/split.json", "/split/head.onnx", "/device/x/wish"])
def test_a_wrong_token_is_refused_with_a_sentence(opened, path):
    for token in ("wrong", opened.tokens.screen):
        status, _, said = ask(opened, "GET", path, token=token)
        assert (status, "not one of this room" in said["error"]) == (401, True)


def test_a_page_of_another_server_gets_nothing(opened, joined):
    own = {"Origin": f"http://{opened.code.host}:{opened.code.port}"}
    path = f"/device/{joined['id']}/status"
    assert ask(opened, "POST", path, {}, headers=own)[0] == 204
    for origin in ("http://evil.example", "https://" + own["Origin"].removeprefix("http://"), "null", "http://[::1"):
        assert ask(opened, "POST", path, {}, headers={"Origin": origin})[0] == 403, origin
        with pytest.raises(InvalidStatus), Page(opened, origin=origin):
            pass
    with Page(opened, origin=own["Origin"]) as page:
        assert page.until(lambda message: message["type"] == "room")


def test_every_answer_forbids_what_a_page_does_not_need(opened):
    for path in ("/", "/phone", "/static/nothing.js", "/split/split.json", "/nowhere"):
        _, headers, _ = ask(opened, "GET", path)
        assert headers["Content-Security-Policy"] == POLICY
        assert "unsafe-inline" not in POLICY
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
        assert headers["Cache-Control"] in ("no-cache", "no-store")


def test_whoever_opens_a_join_code_in_a_browser_gets_the_page_of_phones(opened):
    status, headers, _ = ask(opened, "GET", "/join")
    assert (status, headers["Location"]) == (307, "/phone")


def test_more_devices_than_allowed_are_refused_with_a_sentence(opened):
    ids = [ask(opened, "POST", "/device", introduced(f"n{i}"))[2]["id"] for i in range(3)]
    status, _, said = ask(opened, "POST", "/device", introduced("n3"))
    assert (status, said["error"]) == (
        429, "This room has all of its 3 devices (--most-devices); wait until one leaves.",
    )  # fmt: skip
    assert ask(opened, "DELETE", f"/device/{ids[0]}")[0] == 204
    status, _, said = ask(opened, "POST", "/device", introduced("n3"))
    assert status == 200
    for id in (*ids[1:], said["id"]):
        ask(opened, "DELETE", f"/device/{id}")
    assert ask(opened, "DELETE", f"/device/{ids[0]}")[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/device", b"{", 400),
        ("/device", b"[" * 5000, 400),
        ("/device", b"[]", 400),
        ("/device", b'{"name": "' + b"x" * 20_000 + b'"}', 413),
        ("/device/unknown/status", b"{}", 404),
        ("/device/ID/status", b'{"bytes": -1}', 400),
        ("/device/ID/status", b'{"bytes": NaN}', 400),
        ("/device/ID/original", b"\x00" * (INPUT.size - 1), 400),
        ("/device/ID/original", b"\x00" * (INPUT.size + 1), 413),
    ],
)
def test_what_cannot_be_read_is_refused(opened, joined, path, body, status):
    path = path.replace("ID", joined["id"])
    assert ask(opened, "POST", path, body=body, headers={"X-Frame": "1"})[0] == status


def test_originals_are_taken_and_never_written_to_disk(opened, joined, tmp_path_factory):
    mark = bytes(np.random.default_rng(5).integers(0, 256, INPUT.size, np.uint8))
    path = f"/device/{joined['id']}/original"
    assert ask(opened, "POST", path, body=mark, headers={"X-Frame": "3"})[0] == 204
    assert ask(opened, "POST", path, body=mark, headers={"X-Frame": "-3"})[0] == 400
    folder = tmp_path_factory.getbasetemp()
    assert not any(mark in file.read_bytes() for file in folder.rglob("*") if file.is_file())
    other = ask(opened, "POST", "/device", introduced("other"))[2]
    assert ask(opened, "POST", f"/device/{other['id']}/original", body=mark, headers={"X-Frame": "3"})[0] == 403
    ask(opened, "DELETE", f"/device/{other['id']}")


def test_a_wish_reaches_the_device_that_waits_for_it(opened, joined):
    got = []
    path = f"/device/{joined['id']}/wish?after={joined['number']}"
    waiting = threading.Thread(target=lambda: got.append(ask(opened, "GET", path)))
    waiting.start()
    with Page(opened) as page:
        page.until(lambda message: message.get("id") == joined["id"])
        page.wish(joined["id"], "gaussian-noise", sigma=2, codec="int8")
        waiting.join(PATIENCE_S)
        wish = {"defense": "gaussian-noise", "options": {"sigma": 2.0}, "codec": "int8"}
        assert got[0][::2] == (200, {"number": joined["number"] + 1, "wish": wish})
        assert page.until(lambda message: message.get("wish") == wish)["id"] == joined["id"]


def test_a_device_that_hangs_up_while_it_waits_is_shown_as_gone(opened, joined):
    with Page(opened) as page, socket.create_connection((opened.code.host, opened.code.port)) as line:
        page.until(lambda message: message.get("id") == joined["id"])
        line.sendall(
            f"GET /device/{joined['id']}/wish?after=99 HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {opened.code.token}\r\n\r\n".encode()
        )
        deadline = time.monotonic() + PATIENCE_S
        while not opened.room._devices[joined["id"]].polls and time.monotonic() < deadline:
            time.sleep(0.01)
        line.close()
        page.until(lambda message: message.get("id") == joined["id"] and not message.get("connected", True))


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"token": "wrong"}, 4401),
        ({"token": None}, 4401),
        ({}, 4401),
        ("{", 4400),
        ("[]", 4400),
        (b"\x00\x01", 4400),
        ("x" * 5000, 4400),
    ],
)
def test_a_page_without_the_token_is_closed(opened, said, code):
    with Page(opened, greets=False) as page:
        page.say(said)
        closed, reason = page.closed()
    assert (closed, bool(reason)) == (code, True)


@pytest.mark.parametrize(
    "said",
    [
        "null",
        b"binary",
        {"type": "unknown"},
        {"type": "wish", "id": 3, "wish": {}},
        {"type": "wish", "id": "all", "wish": {"defense": "mine.py:Evil"}},
        {"type": "attackers", "names": "ridge"},
        "[" * 4000,
        "x" * 4097,
    ],
)
def test_a_page_that_says_what_cannot_be_read_is_closed_and_the_others_stay(opened, said):
    with Page(opened) as other:
        with Page(opened) as page:
            page.say(said)
            closed, reason = page.closed()
        assert (closed, bool(reason)) == (4400, True)
        other.say({"type": "attackers", "names": []})
        assert other.until(lambda message: message["type"] == "room")


def test_noise_of_any_kind_leaves_the_room_open(opened):
    rng = np.random.default_rng(0)
    for size in (1, 10, 100, 1000, 70_000):
        with socket.create_connection((opened.code.host, opened.code.port), PATIENCE_S) as line:
            line.sendall(rng.bytes(size))
    for size in (1, 50, 5000):
        with Page(opened, greets=False) as page:
            page.say(rng.bytes(size))
            assert page.closed()[0] == 4400
    assert ask(opened, "GET", "/split/split.json")[0] == 200


def test_tokens_stay_over_a_restart_and_only_their_owner_reads_them(tmp_path):
    first = Tokens.kept(tmp_path)
    assert Tokens.kept(tmp_path) == first
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert first.join != first.screen
    assert first.join not in repr(first)
    (tmp_path / "tokens.json").write_text(json.dumps({"join": "x", "screen": ["x"]}))
    assert Tokens.kept(tmp_path) != first


def test_plain_text_leaves_the_machine_only_when_told(tmp_path):
    split, data = write_room(tmp_path)
    with (
        pytest.raises(ConfigError, match="plain text"),
        open_room(open_split(split), data, out=tmp_path / "out", attackers=(), host="0.0.0.0"),
    ):
        pass
    insecure = Security(insecure=True)
    with tiny_room(tmp_path, host="0.0.0.0", share="127.0.0.1", security=insecure) as opened:
        assert ask(opened, "GET", "/split/split.json")[0] == 200
        assert opened.addresses["grpc"].startswith("grpc://127.0.0.1:")
