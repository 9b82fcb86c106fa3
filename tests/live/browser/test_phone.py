"""The page of a phone in Chromium, over the real web server: what it sends is what a Python device sends."""

import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from cutlayer.data.images import read_image
from cutlayer.edge.wishes import Wish
from cutlayer.live.runtime import ONNX, Runtime
from cutlayer.live.serve import open_room
from cutlayer.live.tokens import Tokens
from cutlayer.registry import DEFENSES
from cutlayer.spec import image_spec
from cutlayer.split_folder import open_split
from cutlayer.wire import certs
from tests.browser import barriers, errors
from tests.live.browser.page import shown, text, until
from tests.live.open_app import open_app
from tests.tiny_split import write_split

PHONE = {"width": 390, "height": 844}
READY = "!document.getElementById('file').disabled"
WAIT_S = 120.0


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A photograph of no size in particular, whose bytes every program reads alike."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (9, 13, 3), np.uint8)).resize((413, 297), Image.Resampling.BICUBIC)
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    smooth.save(path)
    return path


def page(driver, address):
    driver.get(address)
    until(driver, READY)


def choose(driver, path):
    driver.find_element("id", "file").send_keys(str(path))


def trouble(driver):
    until(driver, "!document.getElementById('trouble').hidden")
    return text(driver, "#trouble")


def waited(condition):
    """Wait for what the room holds to become true, and return it."""
    end, pause = time.monotonic() + WAIT_S, threading.Event()
    while not (value := condition()):
        assert time.monotonic() < end, condition
        pause.wait(0.01)
    return value


def frame(room, wanted=lambda one: True):
    """The next frame that arrives and is wanted."""

    def arrived():
        return [one for one in room.room.take() if wanted(one)]

    return waited(arrived)[0]


def device(room):
    [message] = [m for m in room.room.messages({}) if m["type"] == "device"]
    return message


@contextmanager
def injected(driver, script):
    """Run a script before those of every page during the block."""
    command = "Page.addScriptToEvaluateOnNewDocument"
    added = driver.execute_cdp_cmd(command, {"source": script})
    yield
    driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_a_picture_leaves_the_phone_as_it_leaves_a_python_device(runtime, browse, picture, tmp_path):
    """Gray, without a defense and behind what the room wishes; what a browser cannot do is refused in words."""
    write_split(tmp_path, input=image_spec(1, 28, 28), channels=6)
    with open_app(tmp_path) as room:
        driver = browse(**PHONE)
        page(driver, room.phone)
        choose(driver, picture)
        expected = read_image(picture, (1, 28, 28))
        smashed = room.split.head()(expected[None])
        first = frame(room)
        np.testing.assert_allclose(first.frame.smashed, smashed, rtol=0, atol=1e-5 * np.abs(smashed).max())
        assert first.frame.wish == Wish()
        assert first.original is None, "the consent is off until it is given"

        driver.find_element("id", "share").click()
        shared = frame(room, lambda one: one.original is not None)
        np.testing.assert_array_equal(shared.original, np.rint(expected * 255))
        assert device(room)["shares_original"]
        driver.find_element("id", "share").click()
        waited(lambda: not device(room)["shares_original"])
        assert frame(room).original is None

        id = device(room)["id"]
        noisy = Wish("gaussian-noise", {"sigma": 2.0})
        room.room.wish(id, noisy)
        noise = frame(room, lambda one: one.frame.wish == noisy).frame.smashed - smashed
        assert abs(noise.mean()) < 5 * 2 / noise.size**0.5
        assert abs(noise.std() / 2 - 1) < 5 / (2 * noise.size) ** 0.5
        assert text(driver, "#defense") == "gaussian noise, sigma 2"
        few = Wish("top-k", {"sparsity": 0.9}, "int8")
        room.room.wish(id, few)
        arrived = frame(room, lambda one: one.frame.wish is not None and one.frame.wish.defense == "top-k")
        kept = few.make().protect(first.frame.smashed, np.random.default_rng(0))
        np.testing.assert_allclose(arrived.frame.smashed, kept, rtol=0, atol=(kept.max() - kept.min()) / 255)
        assert waited(lambda: device(room)["bytes"] < smashed.nbytes / 3)

        room.room.wish(id, Wish("dropout", {"rate": 0.5}))
        refused = waited(lambda: device(room)["refused"])
        assert refused.startswith("A browser cannot compute dropout")
        assert text(driver, "#refused") == refused
        assert frame(room).frame.wish.defense == "top-k", "it goes on with what it did before"
        assert errors(driver) == []


def test_a_split_that_is_defended_is_defended_on_the_phone(runtime, browse, picture, tmp_path):
    """The picture is in color, and the defense is that of the split."""
    write_split(tmp_path, input=image_spec(3, 64, 64), channels=4, defense={"name": "top-k", "sparsity": 0.75})
    with open_app(tmp_path) as room:
        driver = browse(**PHONE)
        page(driver, room.phone)
        choose(driver, picture)
        smashed = room.split.head()(read_image(picture, (3, 64, 64))[None])
        expected = DEFENSES.make("top-k", sparsity=0.75).protect(smashed, np.random.default_rng(0))
        arrived = frame(room).frame.smashed
        np.testing.assert_allclose(arrived, expected, rtol=0, atol=1e-5 * np.abs(smashed).max())
        assert device(room)["defense"] == "top-k"


def test_a_split_whose_defense_a_browser_lacks_is_not_used(browse, runtime, tmp_path):
    with open_app(tmp_path, defense={"name": "dropout", "rate": 0.5}) as room:
        driver = browse(**PHONE)
        driver.get(room.phone)
        assert "protected by dropout, which a browser cannot compute" in trouble(driver)
        until(driver, "performance.getEntriesByName(new URL('/split/head.onnx', location).href).length")
        assert not driver.find_element("id", "camera").is_enabled()


def test_the_camera_is_a_device_that_comes_back_to_a_room_that_was_away(runtime, browse, tmp_path):
    tokens = Tokens()
    driver = browse(**PHONE, camera=True)
    with open_app(tmp_path, tokens=tokens) as room:
        port = room.web.address.port
        page(driver, room.phone)
        until(driver, "!document.getElementById('camera').disabled")
        driver.find_element("id", "camera").click()
        frames = [frame(room) for _ in range(3)]
        assert frames[0].frame.number < frames[2].frame.number
        assert len({one.frame.smashed.tobytes() for one in frames}) > 1, "the test picture moves"
        until(driver, "document.getElementById('answer').innerText")
        assert text(driver, "#bytes") == "288 bytes each time"
        assert text(driver, "#answer").partition(",")[0] in ("zero", "one", "two")
        assert barriers(driver) == []
        assert driver.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
        assert errors(driver) == []
        # What the room denies while it is there, here the pictures, does not keep the phone from coming back.
        driver.find_element("id", "share").click()
        waited(lambda: device(room)["shares_original"])
        [known] = room.room._devices.values()
        known.introduction = known.introduction._replace(shares_original=False)
        for _ in range(3):
            frame(room)
    until(driver, "document.getElementById('state').dataset.state === 'lost'")
    assert text(driver, "#state") == "Looking for the room"
    with open_app(tmp_path, tokens=tokens, port=port) as room:
        frame(room)
        until(driver, "document.getElementById('state').dataset.state === 'open'")
        assert not driver.find_element("id", "trouble").is_displayed()
        driver.find_element("id", "stop").click()
        assert driver.find_element("id", "camera").is_displayed()
        known = device(room)["id"], device(room)["name"]
        driver.refresh()
        until(driver, READY)
        assert (device(room)["id"], device(room)["name"]) == known, "a page that is loaded again is the same device"
        until(driver, "!document.getElementById('camera').disabled")
        driver.execute_script("for (const _ of [1, 2, 3]) document.getElementById('camera').click()")
        until(driver, "document.getElementById('video').videoWidth && !document.getElementById('video').paused")
        frame(room)
        assert len({frame(room).frame.smashed.tobytes() for _ in range(5)}) > 1, "an impatient thumb stops nothing"


def test_what_keeps_a_phone_out_is_said_in_words(browse, tmp_path):
    driver = browse(**PHONE)
    with open_app(tmp_path, most_devices=1) as room:
        driver.get(room.phone.partition("#")[0])
        assert trouble(driver).startswith("This address has no token; scan the code")
        driver.get("about:blank")
        driver.get(room.phone.partition("#")[0] + "#" + "x" * 32)
        assert trouble(driver).startswith("The token is not one of this room")
        until(driver, "document.getElementById('state').innerText === 'Not admitted'")
        assert "open the address that `cutlayer live` prints behind `phones`" in trouble(driver)
        assert text(driver, "h1") == "This phone cannot join"
        assert not driver.find_element("id", "camera").is_displayed()
        for script, words in (
            ("WebAssembly.validate = () => false", "no SIMD in WebAssembly"),
            ("delete globalThis.WebAssembly", "no WebAssembly"),
        ):
            with injected(driver, script):
                driver.get("about:blank")
                driver.get(room.phone)
                assert words in trouble(driver)
                assert not driver.find_element("id", "file").is_enabled()
        room.room.join({"name": "another", "kind": "phone", "session": "phone-1"})
        room.room.polling(next(iter(room.room._devices)), begins=True)
        driver.get("about:blank")
        driver.get(room.phone)
        assert "all of its 1 devices (--most-devices)" in trouble(driver)


def test_a_room_without_the_runtime_says_what_its_owner_has_to_do(browse, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with open_app(tmp_path / "split") as room:
        room.app.state.runtime = Runtime(ONNX, folder=tmp_path / "cache")
        driver = browse(**PHONE)
        driver.get(room.phone)
        until(driver, "document.getElementById('trouble').innerText.includes('Install npm')")


def test_a_camera_that_is_missing_or_forbidden_is_said_in_words(browse, runtime, tmp_path):
    with open_app(tmp_path) as room:
        driver = browse(**PHONE)
        page(driver, room.phone)
        driver.find_element("id", "camera").click()
        assert trouble(driver) == "There is no camera here; choose a picture instead."
        refusing = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', arguments[0]))"
        for name, words in (("NotAllowedError", "was not allowed"), ("NotReadableError", "in use by another program")):
            driver.execute_script(refusing, name)
            driver.find_element("id", "camera").click()
            until(driver, f"document.getElementById('trouble').innerText.includes('{words}')")
        (tmp_path / "no.png").write_text("no picture")
        choose(driver, tmp_path / "no.png")
        until(driver, "document.getElementById('trouble').innerText.startsWith('This file is no picture')")


def own_address():
    """An address of this machine that is not its loopback, to which browsers give no camera over http."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the system only chooses its own address
        except OSError:
            pytest.skip("this machine has no address but its loopback")
        return probe.getsockname()[0]


def test_over_http_from_elsewhere_a_picture_works_and_the_page_says_how_to_get_the_camera(
    runtime, browse, picture, tmp_path
):
    host = own_address()
    with open_app(tmp_path, host=host) as room:
        driver = browse(**PHONE)
        page(driver, room.phone)
        assert driver.execute_script("return isSecureContext") is False
        assert not driver.find_element("id", "camera").is_displayed()
        assert f"cutlayer certs init certs --host {host}" in text(driver, "#insecure")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
        choose(driver, picture)
        smashed = room.split.head()(read_image(picture, (1, 6, 6))[None])
        np.testing.assert_allclose(frame(room).frame.smashed, smashed, rtol=0, atol=1e-5 * np.abs(smashed).max())
        assert barriers(driver) == []
        certs.init(tmp_path / "certs", [host])
    with open_app(tmp_path, host=host, certs=tmp_path / "certs") as room:
        page(driver, room.phone)
        assert driver.execute_script("return isSecureContext") is True
        assert driver.find_element("id", "camera").is_displayed()
        assert not driver.find_element("id", "insecure").is_displayed()
        until(driver, "!document.getElementById('trust').hidden")
        assert "Certificate Trust Settings" in driver.execute_script(
            "return document.getElementById('trust').textContent"
        )
        choose(driver, picture)
        np.testing.assert_allclose(frame(room).frame.smashed, smashed, rtol=0, atol=1e-5 * np.abs(smashed).max())


def test_the_big_screen_shows_what_the_server_rebuilds_of_the_phones_picture(runtime, browse, picture, tmp_path):
    """And no longer does once the room has told the phone to add noise."""
    write_split(tmp_path / "split", data="digits", input=image_spec(1, 8, 8), channels=6, classes=10)
    screen, phone = browse(), browse(**PHONE)
    with open_room(open_split(tmp_path / "split"), "digits", out=tmp_path, attackers=("ridge",)) as room:
        screen.get(room.screen)
        page(phone, room.phone)
        phone.find_element("id", "share").click()
        choose(phone, picture)
        until(screen, "document.querySelector('.card .leak strong')", WAIT_S)
        assert text(screen, ".card .kind") == "phone"
        expected = read_image(picture, (1, 8, 8))[0]

        def distance(selector):
            return float(
                np.square(shown(screen, f"document.querySelector('{selector} canvas')")[..., 0] - expected).mean()
            )

        assert distance(".saw") < 1e-5
        waited(lambda: distance("[data-attacker=ridge]") < 0.01)
        [id] = room.room._devices
        room.room.wish(id, Wish("gaussian-noise", {"sigma": 10.0}))
        waited(lambda: distance("[data-attacker=ridge]") > 0.05)
        assert errors(phone) == errors(screen) == []
