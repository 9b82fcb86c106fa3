"""The eyes of the tests of pages see what they must: faults of a page, barriers, colours and sizes."""

import pytest

from tests.browser import barriers, errors

HEAD = "<title>Good</title><meta name=viewport content='width=device-width'>"
GOOD = f"<!doctype html><html lang=en>{HEAD}<main><h1>Good</h1></main></html>"
BAD = GOOD.replace("<h1>", "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='><button></button><h1>")


def shown(driver, markup, tmp_path):
    (tmp_path / "page.html").write_text(markup)
    driver.get((tmp_path / "page.html").as_uri())


def test_a_fault_of_a_script_is_collected_once(browse, tmp_path):
    driver = browse()
    shown(driver, GOOD, tmp_path)
    assert errors(driver) == []
    shown(driver, GOOD + "<script>nothing.there()</script>", tmp_path)
    assert ["nothing is not defined" in line for line in errors(driver)] == [True]
    assert errors(driver) == []


def test_barriers_are_found_where_they_are(browse, tmp_path):
    driver = browse()
    shown(driver, GOOD, tmp_path)
    assert barriers(driver) == []
    shown(driver, BAD, tmp_path)
    assert sorted(line.partition(":")[0] for line in barriers(driver)) == ["button-name", "image-alt"]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_screen_has_the_asked_size_and_colours(browse, tmp_path, width, dark):
    driver = browse(width, dark=dark)
    shown(driver, GOOD, tmp_path)
    assert driver.execute_script("return innerWidth") == width
    assert driver.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches") is dark


def test_two_screens_are_two_browsers_and_one_may_have_a_camera(browse, tmp_path):
    one, other = browse(), browse(camera=True)
    shown(one, GOOD, tmp_path)
    shown(other, GOOD, tmp_path)
    assert one.session_id != other.session_id
    asked = (
        "navigator.mediaDevices.getUserMedia({video: true}).then(() => arguments[0]('yes'), e => arguments[0](e.name))"
    )
    assert other.execute_async_script(asked) == "yes"
