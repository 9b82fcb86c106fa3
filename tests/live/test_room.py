"""The room itself: who is in it, which frames the attackers get, and what is told of an original."""

import contextlib
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutlayer.cloud.service import Seen
from cutlayer.edge.wishes import Wish
from cutlayer.live import room as rooms
from cutlayer.live.device import Denied, Introduction, Picture
from cutlayer.live.room import Room
from cutlayer.models.manifest import Manifest
from tests.live.rooms import introduced
from tests.live.test_wishes import JSON
from tests.tiny_split import CLASSES, INPUT, SMASHED

MANIFEST = Manifest("tiny", "relu", CLASSES, INPUT, SMASHED, {"name": "none"}, None, {})


def room(most=3, **options):
    return Room(MANIFEST, ("a", "b", "c"), most, **options)


def seen(session, number, defense="none", value=0.0):
    smashed = np.full((1, *SMASHED.shape), value, np.float32)
    logits = {"logits": np.array([[0.0, 3.0, 1.0]], np.float32)}
    return Seen(session, f"{session}-{number}", defense, smashed, logits, 321, (1, 2, 3, 4))


def pixels(value):
    return bytes([value]) * INPUT.size


def test_a_request_shows_its_device_and_nobody_elses():
    there = room()
    device = there.join(introduced("one"))
    there.see(seen("session-of-a-stranger", 1))
    assert there.take() == []
    there.see(seen("session-one", 7, "gaussian-noise sigma=0.5"))
    told = {}
    (message,) = there.messages(told)
    assert (message["id"], message["bytes"], message["connected"]) == (device.id, 321, True)
    assert message["prediction"] == {"label": "b", "share": pytest.approx(0.8438, abs=1e-4)}
    assert message["stages_ms"] == {"queue": 1e-6, "decode": 2e-6, "tail": 3e-6, "reply": 4e-6}
    assert there.messages(told) == []
    (waiting,) = there.take()
    assert (waiting.device, waiting.frame.number, waiting.frame.wish.title) == (
        device.id, 7, "gaussian-noise sigma=0.5",
    )  # fmt: skip


def test_the_attackers_get_the_newest_frame_and_the_older_ones_are_dropped():
    there = room()
    there.join(introduced("one"))
    for number in range(20):
        there.see(seen("session-one", number))
    (waiting,) = there.take()
    assert waiting.frame.number == 19
    assert there.take() == []


def test_a_frame_waits_for_its_original_but_not_for_long(monkeypatch):
    there = room()
    device = there.join(introduced("one", share_original=True))
    there.see(seen("session-one", 1))
    there.see(seen("session-one", 2))
    assert there.take() == []
    there.original(device.id, 1, pixels(9))
    (waiting,) = there.take()
    assert (waiting.frame.number, waiting.original.max()) == (1, 9)
    assert there.take() == []
    monkeypatch.setattr(rooms, "PATIENCE_NS", 0)
    (late,) = there.take()
    assert (late.frame.number, late.original) == (2, None)


def test_an_original_is_refused_unless_it_is_shared_and_forgotten_when_it_is_not_any_more():
    there = room()
    device = there.join(introduced("one"))
    with pytest.raises(Denied, match="has not said") as denied:
        there.original(device.id, 1, pixels(9))
    assert denied.value.status == 403
    assert there.join(introduced("one", share_original=True)) is device
    with pytest.raises(Denied, match=f"has {INPUT.size} bytes"):
        there.original(device.id, 1, b"x")
    for number in range(30):
        there.original(device.id, number, pixels(9))
    assert len(device.originals) == rooms.KEPT_ORIGINALS
    there.show(device.id, Picture(1, "data:", (), None))
    there.join(introduced("one"))
    assert not device.originals
    frames = [message for message in there.messages({}) if message["type"] == "frame"]
    assert [frame["original"] for frame in frames] == [None]


def test_the_room_is_full_until_somebody_leaves():
    there = room(2)
    first, _ = there.join(introduced("one")), there.join(introduced("two"))
    with pytest.raises(Denied, match="all of its 2 devices") as denied:
        there.join(introduced("three"))
    assert denied.value.status == 429
    there.leave(first.id)
    there.join(introduced("three"))


def test_a_device_that_was_away_makes_place_and_comes_back_to_its_card_and_its_wish():
    there = room(2)
    first, told = there.join(introduced("one")), {}
    there.wish(first.id, Wish("dropout", {"rate": 0.5}))
    there.show(first.id, Picture(1, None, (), None))
    there.gone_quiet(first.id)
    messages = there.messages(told)
    assert [message["type"] for message in messages] == ["device", "frame"]
    assert messages[0]["connected"] is False
    again = there.join(introduced("one", session="another"))
    assert again is first
    assert there.welcome(again)["wish"]["defense"] == "dropout"
    there.gone_quiet(first.id)
    there.join(introduced("two"))
    there.join(introduced("three"))
    assert {"type": "gone", "id": first.id} in there.messages(told)
    with pytest.raises(Denied, match="join again"):
        there.report(first.id, {})


def test_silence_is_shown(monkeypatch):
    there, told = room(), {}
    device = there.join(introduced("one"))
    there.polling(device.id, begins=True)
    assert there.messages(told)[0]["connected"]
    monkeypatch.setattr(rooms, "SILENT_NS", -1)
    assert there.messages(told) == []
    there.polling(device.id, begins=False)
    time.sleep(0)
    assert [message["connected"] for message in there.messages(told)] == [False]


def test_a_status_is_taken_or_refused_whole():
    there = room()
    device = there.join(introduced("one"))
    there.report(device.id, {"stages_ns": {"head": 5_000_000}, "end_to_end_ns": 7_000_000, "refused": "No."})
    (message,) = there.messages({})
    assert (message["stages_ms"], message["end_to_end_ms"], message["refused"]) == ({"head": 5.0}, 7.0, "No.")
    there.wish("all", Wish())
    assert there.messages({})[0]["refused"] is None
    for bad in ([], {"stages_ns": {"head": -1}}, {"stages_ns": {str(i): 1 for i in range(99)}}, {"bytes": 1e9}):
        with pytest.raises(Denied):
            there.report(device.id, bad)


def test_a_room_to_look_at_takes_nobody_and_tells_nobody():
    there = room(read_only=True)
    assert (there.message()["switchable"], there.message()["join"]) == ([], None)
    with pytest.raises(Denied):
        there.join(introduced("one"))
    with pytest.raises(Denied):
        there.wish("all", Wish())


def test_attackers_that_were_chosen_are_told_to_all_pages():
    there = room()
    there.show_attackers([{"name": "ridge"}, {"name": "decoder"}])
    assert there.message()["chosen"] == ["ridge", "decoder"]
    version = there.version
    there.choose(["decoder", "unknown"])
    assert there.message()["chosen"] == ["decoder"]
    assert there.version > version


@pytest.mark.parametrize(("read_only", "again"), [(True, [7]), (False, [])])
def test_attackers_that_have_learned_get_the_last_frame_again_where_none_may_follow(read_only, again):
    there = room(read_only=read_only)
    there.admit(Introduction("one", "tap", "session-one", shares_original=False, allows=()))
    there.see(seen("session-one", 7))
    assert [one.frame.number for one in there.take()] == [7]
    assert there.take() == []
    learned = [{"name": "ridge", "ready": True}]
    there.show_attackers(learned)
    assert [one.frame.number for one in there.take()] == again
    there.show_attackers(learned)  # nothing has changed
    assert there.take() == []


@given(JSON | st.fixed_dictionaries(dict.fromkeys(introduced(), JSON)))
def test_any_introduction_is_read_or_denied(value):
    with contextlib.suppress(Denied):
        assert 0 < len(Introduction.read(value).name) <= 40


@given(JSON | st.fixed_dictionaries({"stages_ns": JSON, "bytes": JSON, "end_to_end_ns": JSON, "refused": JSON}))
def test_any_status_is_taken_or_denied(value):
    there = room()
    device = there.join(introduced("one"))
    with contextlib.suppress(Denied):
        there.report(device.id, value)
    assert there.messages({})[0]["id"] == device.id


def test_hostile_text_reaches_no_page_as_it_is():
    there = room()
    there.join(introduced("\x1b[2J\u202eevil", session="s"))
    there.see(seen("s", 1, "<script>\x00" + "x" * 500))
    (message,) = there.messages({})
    assert message["name"].isprintable()
    assert message["defense"].isprintable()
    assert len(message["defense"]) <= 64


def test_whoever_takes_the_name_of_another_gets_nothing_that_was_seen_of_it():
    there, told = room(), {}
    device = there.join(introduced("one", share_original=True))
    there.see(seen("session-one", 1))
    there.show(device.id, Picture(1, "data:original", (), {"index": 17}))
    there.messages(told)
    there.gone_quiet(device.id)
    assert there.join(introduced("one", session="a stranger", share_original=True)) is device
    card, frame = there.messages(told)
    assert (card["prediction"], card["stages_ms"]) == (None, {})
    assert [frame[key] for key in ("original", "rebuilt", "candidate", "prediction")] == [None, [], None, None]
