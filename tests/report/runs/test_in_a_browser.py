"""The page in headless Chromium: what a mouse, a keyboard, a finger and a screen reader find."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from cutlayer.report.runs.page import write
from tests.browser import barriers, errors

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def report(runs) -> Path:
    return write(runs)


def opened(browse, report, **screen):
    driver = browse(**screen)
    driver.get(report.as_uri())
    return driver


@pytest.mark.parametrize("dark", [False, True])
def test_readers_with_weak_eyes_or_a_screen_reader_meet_no_barrier(browse, report, dark):
    driver = opened(browse, report, dark=dark)
    driver.execute_script("for (const folded of document.querySelectorAll('details')) folded.open = true")
    assert barriers(driver) == []


def test_the_page_asks_for_nothing_and_its_console_is_empty(browse, report):
    driver = opened(browse, report)
    asked = driver.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in asked if not name.startswith("data:")] == []
    assert errors(driver) == []


def test_a_phone_scrolls_the_page_in_one_direction_only(browse, report):
    driver = opened(browse, report, width=390)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    assert errors(driver) == []


def test_a_mouse_on_a_mark_shows_what_it_is_and_where_else_it_stands(browse, report):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    driver = opened(browse, report)
    mark = driver.find_elements(By.CSS_SELECTOR, "#g1-leakage-accuracy a.mark")[1]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(driver).move_to_element(mark).perform()
    told = driver.find_element(By.CSS_SELECTOR, "#g1-leakage-accuracy .told").text
    assert told.startswith("gaussian-noise sigma=0.5: accuracy 77.4")
    assert len(driver.find_elements(By.CSS_SELECTOR, "a.mark.on")) == 4, "the same setting in all four figures"


def test_the_keyboard_reaches_every_mark_and_follows_it(browse, report):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.by import By

    driver = opened(browse, report)
    first = driver.find_element(By.CSS_SELECTOR, "#g1-leakage-latency a.mark[tabindex='0']")
    driver.execute_script("arguments[0].focus()", first)
    said = []
    for _ in range(3):
        said.append(driver.find_element(By.CSS_SELECTOR, "#g1-leakage-latency .told").text.partition(":")[0])
        ActionChains(driver).send_keys(Keys.ARROW_RIGHT).perform()
    assert said == ["no defense", "gaussian-noise sigma=0.5", "gaussian-noise sigma=2.0"]
    ActionChains(driver).send_keys(Keys.END, Keys.ENTER).perform()
    assert driver.current_url.endswith("#g1-s2")


def test_a_link_to_a_setting_unfolds_the_page_of_its_defense(browse, report):
    from selenium.webdriver.common.by import By

    driver = opened(browse, report)
    driver.get(f"{report.as_uri()}#g1-s2")
    pages = driver.find_elements(By.CSS_SELECTOR, "details.defense")
    assert [page.get_attribute("open") for page in pages] == [None, "true"]
    assert driver.find_element(By.ID, "g1-s2").is_displayed()


@pytest.mark.parametrize("dark", [False, True])
def test_the_button_saves_the_figure_as_a_picture_of_its_own(browse, report, tmp_path, dark):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    driver = opened(browse, report, dark=dark)
    folder = tmp_path / "saved"
    folder.mkdir()
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    button = driver.find_element(By.CSS_SELECTOR, "#g1-leakage-accuracy button.save")
    driver.execute_script("arguments[0].click()", button)
    file = folder / "photos-vgg11_bn-cut-at-features.7-leakage-accuracy.svg"
    WebDriverWait(driver, 20).until(lambda _: file.exists() and file.stat().st_size)
    text = file.read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root.find(f"{SVG}title").text == "Worst-case leakage gain against accuracy"
    assert len(root.findall(f".//{SVG}path[@class='glyph']")) == 3 + 2, "three marks, and two in the key"
    style = root.find(f"{SVG}style").text
    assert "var(" not in text
    assert "#1d2125" in style, "the ink of light paper, also where the page is dark"
    assert not root.findall(f".//{SVG}a"), "a link of the page leads nowhere in a file"
    assert not re.findall(r'(?:href|src)="', text)
    driver.get(file.as_uri())
    assert driver.execute_script("return document.querySelectorAll('path').length") > 5
    assert errors(driver) == []
