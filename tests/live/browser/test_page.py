"""The big screen: what it shows of what it is told, and what it asks for."""

import time

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser import barriers, errors, screen
from tests.live.browser.page import shown, text, until
from tests.live.browser.scripted import STEPS, device_message, frame_message, room_message, scripted

BLACK, GREY, WHITE = (np.full((1, 32, 32), value, np.float32) for value in (0, 0.5, 1))
NOISE = {"defense": "gaussian-noise", "options": {"sigma": 1}, "codec": "raw"}


@pytest.fixture(scope="module")
def server():
    with scripted() as room:
        yield room


@pytest.fixture
def room(server):
    yield server
    server.hang_up()


def shade(driver, selector):
    """The mean of a picture, from 0 to 255."""
    return 255 * shown(driver, f"document.querySelector('{selector}')").mean()


def opened(room, browse, **screen_of):
    driver = browse(**screen_of)
    driver.get(room.address)
    return driver


def test_a_device_that_shares_is_shown_with_what_was_rebuilt_and_every_figure(room, browse):
    candidate = {"rank": 1, "of": 1000, "index": 16, "picture": None, "sure": True}
    room.tell(**room_message())
    room.tell(**device_message(prediction={"label": "of a later frame", "share": 0.5}))
    answer = {"label": "trouser", "share": 0.97}
    room.tell(**frame_message(BLACK, GREY, leakage=0.831, candidate=candidate, prediction=answer))
    driver = opened(room, browse)
    until(driver, "document.querySelector('.leak strong')")
    assert shade(driver, ".saw canvas") == 0
    assert shade(driver, "[data-attacker=decoder] canvas") == pytest.approx(128, abs=1)
    assert text(driver, "[data-attacker=ridge] .leak").split() == ["83", "%", "leaked", "21.3", "dB"]
    assert text(driver, ".verdict p") == "This is candidate 17 of 1,000.\nThe attacker is right."
    assert text(driver, ".answer") == "The server answers\ntrouser\n97\u202f%"
    assert text(driver, ".took") == "7.8\u202fms"
    assert text(driver, ".parts") == "device 3.7\u202fms network 1.2\u202fms server 2.6\u202fms 4,112 bytes a frame"
    assert errors(driver) == []


def test_who_has_not_learned_the_defense_of_a_frame_says_so_beside_its_picture(room, browse):
    learned, elsewhere = frame_message(BLACK, GREY, frame=1), frame_message(BLACK, GREY, frame=2)
    elsewhere["rebuilt"][0]["learned"] = False
    room.tell(**room_message())
    room.tell(**device_message())
    room.tell(**elsewhere)
    driver = opened(room, browse)
    until(driver, "document.querySelector('.card')?.dataset.frame === '2'")
    assert text(driver, "[data-attacker=ridge] .leak").endswith("not learned yet")
    assert "yet" not in text(driver, "[data-attacker=decoder] .leak")
    room.tell(**learned)
    until(driver, "document.querySelector('.card').dataset.frame === '1'")
    assert "yet" not in text(driver, "[data-attacker=ridge] .leak")
    assert errors(driver) == []


def test_a_device_that_keeps_its_picture_is_shown_with_the_guess_alone(room, browse):
    candidate = {"rank": None, "of": 1000, "index": 411, "picture": None, "sure": False}
    room.tell(**room_message())
    room.tell(**device_message(shares_original=False))
    room.tell(**frame_message(None, WHITE, leakage=None, candidate=candidate))
    driver = opened(room, browse)
    until(driver, "document.querySelector('.leak')?.innerText.includes('not scored')")
    assert text(driver, ".saw .kept") == "The picture stays on the device."
    assert text(driver, ".verdict p") == (
        "Perhaps candidate 412, if it is one of the 1,000 on the list.\nThe truth is not known here."
    )
    assert shade(driver, "[data-attacker=ridge] canvas") == 255


def test_the_slider_asks_by_the_keyboard_and_a_refusal_is_shown_in_the_words_of_the_device(room, browse):
    room.tell(**room_message())
    room.tell(**device_message())
    driver = opened(room, browse)
    slider = until(driver, "document.querySelector('.card input[type=range]')")
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    WebDriverWait(driver, 60, 0.05).until(lambda _: len(room.heard) == 2)
    options = {"sigma": STEPS[2]}
    assert room.heard[1] == {"type": "wish", "id": "d1", "wish": NOISE | {"options": options}}
    assert slider.get_attribute("aria-valuetext") == "faint, sigma 0.2"
    assert slider.get_attribute("aria-label") == "Strength of gaussian noise on door-camera"
    refusal = "This device does not go below gaussian-noise sigma=0.5."
    weak = NOISE | {"options": {"sigma": STEPS[1]}, "codec": "int8"}
    room.tell(**device_message(refused=refusal, wish=weak, defense="gaussian-noise sigma=0.5"))
    until(driver, "document.querySelector('.card .state.refused')")
    in_use = "In use: gaussian noise, sigma 0.5"
    assert text(driver, ".card .state") == f"{in_use}. The device refuses: {refusal}"
    until(driver, f"document.querySelector('.card input[type=range]').value === '{STEPS.index(0.5)}'")
    assert driver.execute_script("return document.querySelector('.card select').value") == "raw"
    # The wish of another page moves the slider here, once the hand is off it.
    room.tell(**device_message(wish=NOISE))
    until(driver, f"document.querySelector('.card input[type=range]').value === '{STEPS.index(1)}'")
    # Nobody has asked for anything yet, and the device protects itself.
    room.tell(**device_message(defense="laplace-noise sigma=2", wish_number=0))
    until(driver, f"document.querySelector('.card input[type=range]').value === '{STEPS.index(2)}'")
    assert driver.execute_script("return document.querySelector('.card .kinds :checked').value") == "laplace-noise"
    assert text(driver, ".card .state") == "In use: laplace noise, sigma 2"
    slider.send_keys(Keys.HOME)
    WebDriverWait(driver, 60, 0.05).until(lambda _: len(room.heard) == 3)
    assert room.heard[2]["wish"] == {"defense": "none", "options": {}, "codec": "raw"}


def test_all_devices_are_asked_at_once_and_attackers_are_chosen(room, browse):
    room.tell(**room_message())
    for id in ("d1", "d2"):
        room.tell(**device_message(id, name=id))
        room.tell(**frame_message(BLACK, WHITE, id))
    driver = opened(room, browse)
    until(driver, "document.querySelectorAll('.card').length === 2 && document.querySelector('.leak strong')")
    driver.execute_script("document.querySelector('#everyone input[value=top-k]').click()")
    driver.execute_script("document.querySelector('#everyone input[type=range]').focus()")
    driver.switch_to.active_element.send_keys(Keys.END)
    WebDriverWait(driver, 60, 0.05).until(lambda _: len(room.heard) == 2)
    wish = {"defense": "top-k", "options": {"sigma": STEPS[-1]}, "codec": "raw"}
    assert room.heard[1] == {"type": "wish", "id": "all", "wish": wish}
    driver.execute_script("document.querySelector('.choices input').click()")
    WebDriverWait(driver, 60, 0.05).until(lambda _: len(room.heard) == 3)
    assert room.heard[2] == {"type": "attackers", "names": ["decoder"]}
    assert driver.execute_script("return document.querySelectorAll('.rebuilt').length") == 2
    # Hold keeps the picture that is there.
    driver.execute_script("document.getElementById('hold').click()")
    room.tell(**frame_message(BLACK, BLACK, "d1"))
    room.tell(**device_message("d1", name="renamed"))
    until(driver, "document.querySelector('.card h2').innerText === 'renamed'")
    assert shade(driver, "[data-attacker=decoder] canvas") == 255


def test_a_device_that_drops_keeps_its_last_frame_and_comes_back(room, browse):
    room.tell(**room_message())
    room.tell(**device_message())
    room.tell(**frame_message(BLACK, WHITE))
    driver = opened(room, browse)
    until(driver, "document.querySelector('.leak strong')")
    room.tell(**device_message(connected=False, last_ns_ago=12_000_000_000))
    until(driver, "document.querySelector('.card.gone')")
    assert text(driver, ".seen") in ("last seen 12\u202fs ago", "last seen 13\u202fs ago")
    assert text(driver, "#news") == "door-camera is gone"
    assert shade(driver, "[data-attacker=ridge] canvas") == 255
    faded = "getComputedStyle(document.querySelector('.rebuilt canvas')).opacity"
    until(driver, f"{faded} < 0.5")
    room.tell(**device_message())
    until(driver, f"!document.querySelector('.card.gone') && {faded} === '1'")
    room.tell(type="gone", id="d1")
    until(driver, "!document.querySelector('.card') && !document.getElementById('welcome').hidden")


def test_a_page_whose_room_is_gone_comes_back_by_itself_and_takes_its_devices_up_again(room, browse):
    room.tell(**room_message())
    room.tell(**device_message())
    room.tell(**frame_message(BLACK, WHITE))
    driver = opened(room, browse)
    until(driver, "document.querySelector('.leak strong')")
    room.hang_up()
    until(driver, "document.querySelector('#link.lost')")
    assert text(driver, "#link") == "Connection lost, trying again"
    assert shade(driver, "[data-attacker=ridge] canvas") == 255
    # A server that was started again has a new id for the same device.
    room.tell(**room_message())
    room.tell(**device_message("other-id"))
    until(driver, "!document.querySelector('#link.lost') && document.querySelector('[data-id=other-id]')")
    assert driver.execute_script("return document.querySelectorAll('.card').length") == 1
    room.tell(**frame_message(BLACK, BLACK, "other-id"))
    WebDriverWait(driver, 60, 0.05).until(lambda _: shade(driver, "[data-attacker=ridge] canvas") == 0)


@pytest.mark.parametrize("fragment", ["", "#wrong"])
def test_a_page_without_the_right_token_says_so_and_does_not_try_again(room, browse, fragment):
    room.tell(**room_message())
    driver = browse()
    driver.get(room.address.partition("#")[0] + fragment)
    until(driver, "!document.getElementById('trouble').hidden")
    expected = "The token is not that of this room." if fragment else "This address lacks its token."
    assert text(driver, "#trouble").startswith(f"{expected} Open the whole address")
    assert text(driver, "#link") == "Not connected"
    assert not driver.execute_script("return document.querySelector('.card')")


def test_pictures_fade_into_each_other_and_never_flicker(room, browse):
    """Between white and black frames every shade that is painted lies between the last two, and none is empty."""
    room.tell(**room_message())
    room.tell(**device_message())
    room.tell(**frame_message(WHITE, GREY))
    driver = opened(room, browse)
    until(driver, "document.querySelector('.leak strong')")
    driver.execute_script(
        "window.seen = [];"
        "const canvas = document.querySelector('[data-attacker=ridge] canvas');"
        "const look = () => { seen.push([...canvas.getContext('2d').getImageData(9, 9, 1, 1).data]);"
        " requestAnimationFrame(look); }; look();"
    )
    # A fade lasts half of the time between two pictures; the browser may paint seldom, so that the pauses grow.
    for number in range(24):
        room.tell(**frame_message(WHITE, WHITE if number % 2 else GREY, frame=number))
        driver.execute_async_script(
            "let left = arguments[0]; const next = () => left-- > 0 ? requestAnimationFrame(next) : arguments[1]();"
            " next();",
            2 + number,
        )
    seen = driver.execute_script("return seen")
    shades = [pixel[0] for pixel in seen]
    assert len(seen) > 12
    assert all(pixel[3] == 255 for pixel in seen)
    assert min(shades) >= 127
    assert any(130 < shade < 253 for shade in shades)


def test_pictures_of_different_frames_never_stand_side_by_side(room, browse):
    room.tell(**room_message())
    room.tell(**device_message())
    room.tell(**frame_message(WHITE, GREY))
    driver = opened(room, browse)
    until(driver, "document.querySelector('.leak strong')")
    # The original of a frame came too late, and one attacker made nothing of it.
    late = frame_message(None, BLACK, frame=2)
    room.tell(**late | {"rebuilt": late["rebuilt"][:1]})
    until(driver, "document.querySelector('.card.late')")
    until(driver, "getComputedStyle(document.querySelector('.saw canvas')).opacity === '0'")
    assert text(driver, "[data-attacker=decoder] .waiting") == "Waiting for a frame"
    assert shown(driver, "document.querySelector('[data-attacker=decoder] canvas')").max() == 0
    assert text(driver, "[data-attacker=decoder] .leak") == ""
    late["rebuilt"][0] |= {"leakage_gain": None, "psnr_db": None}
    room.tell(**late | {"rebuilt": late["rebuilt"][:1], "frame": 3})
    until(driver, "document.querySelector('.leak').innerText === 'not scored: what the device saw came too late'")
    room.tell(**frame_message(WHITE, GREY, frame=4))
    until(driver, "!document.querySelector('.card.late') && document.querySelector('[data-attacker=decoder] strong')")
    # Consent is withdrawn: what was seen is gone at once.
    room.tell(**device_message(shares_original=False))
    until(driver, "!document.querySelector('.card.shared')")
    assert shown(driver, "document.querySelector('.saw canvas')").max() == 0
    assert text(driver, ".saw .kept") == "The picture stays on the device."


def test_who_wants_less_motion_gets_a_frame_a_second_with_the_figures_of_that_frame(room, browse):
    driver = browse()
    still = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", still)
    room.tell(**room_message())
    room.tell(**device_message())
    room.tell(**frame_message(WHITE, GREY, leakage=0.5))
    driver.get(room.address)
    until(driver, "document.querySelector('.leak strong')")
    driver.execute_script(
        "window.seen = new Set();"
        "const look = () => { seen.add(document.querySelector('.card').dataset.frame); requestAnimationFrame(look); };"
        "look()"
    )
    began = time.monotonic()
    for number in range(2, 14):
        room.tell(**frame_message(WHITE, BLACK if number % 2 else WHITE, frame=number))
        driver.execute_async_script("setTimeout(arguments[0], 120)")
    seen = driver.execute_script("return [...seen]")
    assert 2 <= len(seen) <= 2 + (time.monotonic() - began)


@pytest.mark.parametrize("dark", [False, True])
def test_a_full_room_has_no_barriers_and_fits_every_screen(room, browse, dark):
    attackers = room_message()["attackers"]
    attackers[1] |= {"ready": False, "progress": 0.4, "words": "in training"}
    room.tell(**room_message(attackers=attackers))
    names = ["<img src=x onerror=fault()>", "W" * 64, "phone \u202e reversed", "d3", "d4", "d5"]
    for number, name in enumerate(names):
        gone = {"connected": False, "refused": "Not that." * 20} if number == 1 else {}
        candidate = {"rank": 32, "of": 1000, "index": 16, "picture": None, "sure": True} if number % 2 else None
        room.tell(**device_message(f"d{number}", name=name, **gone))
        room.tell(**frame_message(WHITE if number % 3 else None, GREY, f"d{number}", candidate=candidate))
    driver = opened(room, browse, width=1920, height=1080, dark=dark)
    until(driver, "document.querySelectorAll('.card').length === 6 && document.querySelector('.leak strong')")
    assert not driver.execute_script("return document.querySelector('h2 img')")
    for width in (1920, 1280, 390, 320):
        screen(driver, width, 800, dark)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    screen(driver, 390, 800, dark)
    assert barriers(driver) == []
    assert errors(driver) == []


@pytest.mark.parametrize("dark", [False, True])
def test_an_empty_room_says_how_to_join(room, browse, dark):
    room.tell(**room_message())
    driver = opened(room, browse, dark=dark)
    until(driver, "!document.getElementById('welcome').hidden")
    code = room_message()["join"]["code"]
    assert text(driver, "#welcome .command") == f"cutlayer edge --join '{code}' --camera 0"
    assert barriers(driver) == []
    room.tell(**device_message())
    until(driver, "!document.getElementById('open-join').hidden && document.getElementById('open-join')").click()
    assert text(driver, "dialog .command").endswith("--camera 0")
    assert barriers(driver) == []


@pytest.mark.parametrize("width", [390, 320])
def test_an_empty_room_fits_a_narrow_screen(room, browse, width):
    room.tell(**room_message())
    driver = opened(room, browse, width=width)
    until(driver, "!document.getElementById('welcome').hidden")
    assert driver.execute_script("return document.documentElement.scrollWidth") == width


def test_a_page_that_may_only_look_has_nothing_to_switch(room, browse):
    room.tell(**room_message(switchable=[], codecs=[], join=None))
    driver = opened(room, browse)
    assert until(driver, "document.getElementById('welcome').innerText") == "Waiting for the first request."
    assert (text(driver, "h1"), driver.title) == ("cutlayer a recorded tap", "cutlayer: a recorded tap")
    room.tell(**device_message(kind="tap", shares_original=False, stages_ms={}))
    room.tell(**frame_message(None, WHITE, leakage=None))
    until(driver, "document.querySelector('.card') && document.querySelector('.leak')?.innerText")
    assert not driver.execute_script("return document.querySelector('.card .control').offsetParent")
    assert driver.execute_script("return document.getElementById('open-join').hidden")
    assert not driver.execute_script("return document.querySelector('.stages').offsetParent")
    assert text(driver, ".card .kind") == "from the tap"
    assert driver.execute_script("return document.querySelector('.card').innerText").count("stays on the device") == 1
    assert errors(driver) == []


def test_a_picture_and_its_figures_change_together(room, browse):
    """Frames of two kinds alternate, and no figure of one ever stands beside the picture of the other."""
    room.tell(**room_message())
    room.tell(**device_message())
    driver = opened(room, browse)
    kinds = [
        {"rebuilt": shade, "leakage": leakage, "prediction": {"label": label, "share": 0.5}}
        for shade, leakage, label in ((BLACK, 0.1, "black"), (WHITE, 0.9, "white"))
    ]
    room.tell(**frame_message(GREY, frame=0, **kinds[0]))
    until(driver, "document.querySelector('.leak strong')")
    # A change begins with the first shade of a fade, so that only its direction tells what is painted.
    driver.execute_script(
        "window.seen = []; let last = 0;"
        "const canvas = document.querySelector('[data-attacker=ridge] canvas');"
        "const words = (selector) => document.querySelector(selector).innerText;"
        "const look = () => { const [shade] = canvas.getContext('2d').getImageData(9, 9, 1, 1).data;"
        " const way = Math.sign(shade - last) || (shade > 127 ? 1 : -1); last = shade;"
        " seen.push([way > 0 ? 'white' : 'black', words('.answer strong'), parseInt(words('.leak strong'))]);"
        " requestAnimationFrame(look); }; look();"
    )
    for number in range(1, 25):
        room.tell(**frame_message(GREY, frame=number, **kinds[number % 2]))
        driver.execute_async_script("setTimeout(arguments[0], 70)")
    seen = driver.execute_script("return seen")
    assert {answer for _, answer, _ in seen} == {"black", "white"}
    assert all(leaked == {"black": 10, "white": 90}[answer] for _, answer, leaked in seen)
    changes = [at for at in range(1, len(seen)) if seen[at][1] != seen[at - 1][1]]
    settled = [one for at, one in enumerate(seen) if all(not 0 <= at - change < 2 for change in changes)]
    assert all(painted == answer for painted, answer, _ in settled)


def test_a_room_that_nobody_else_reaches_offers_no_code_to_phones(room, browse):
    join = room_message()["join"] | {"local": True, "qr": "<svg xmlns='http://www.w3.org/2000/svg'/>"}
    room.tell(**room_message(join=join))
    driver = opened(room, browse)
    until(driver, "!document.getElementById('welcome').hidden")
    said = text(driver, "#welcome")
    assert "This room is reached from this machine only." in said
    assert "--host 0.0.0.0 --share ADDRESS --cert FILE --key FILE" in said
    assert "Scan" not in said
    assert not driver.execute_script("return document.querySelector('#welcome img')")
    assert text(driver, "#welcome .command").endswith("--camera 0")
    assert barriers(driver) == []
