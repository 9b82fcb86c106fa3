"""Pages as people see them: headless Chromium of the distribution, driven by Selenium.

A test asks for ``browse`` and calls it with the size and the colours of the screen; it gets a Selenium driver, and may
call again for a second screen. Where Chromium, its driver, Selenium or axe-core are missing, the test is skipped, and
the reason says what is missing.
"""

import base64
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
# What `make install` fetches by tests/package.json.
AXE = Path(os.environ.get("AXE") or Path(sys.prefix) / "npm/node_modules/axe-core/axe.min.js")

WEIGHTS = ("serious", "critical")


@pytest.fixture(scope="session")
def _idle() -> Iterator[dict[bool, list["Chrome"]]]:
    """The browsers that no test uses now, without a camera and with one: to start one takes a second."""
    idle: dict[bool, list[Chrome]] = {False: [], True: []}
    yield idle
    for driver in idle[False] + idle[True]:
        driver.quit()


@pytest.fixture
def browse(_idle: dict[bool, list["Chrome"]]) -> Iterator[Callable[..., "Chrome"]]:
    """A function that opens a screen: ``browse(width=1280, height=800, dark=False, camera=False)``.

    Each call gives a browser of its own with an empty page, whose console, storage and cookies are empty too. With
    ``camera`` it has the moving test picture of Chromium, and grants its use without asking. Certificates that nobody
    vouches for are accepted, for tests make their own.
    """
    used: list[tuple[bool, Chrome]] = []

    def opened(width: int = 1280, height: int = 800, dark: bool = False, camera: bool = False) -> "Chrome":
        driver = _idle[camera].pop() if _idle[camera] else started(camera)
        used.append((camera, driver))
        screen(driver, width, height, dark)
        errors(driver)
        return driver

    yield opened
    for camera, driver in used:
        driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        for address in {driver.execute_script("return location.origin")} - {"null"}:
            driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": address, "storageTypes": "all"})
        driver.get("about:blank")
        _idle[camera].append(driver)


def started(camera: bool) -> "Chrome":
    """A browser of its own, for who quits it; the test is skipped where something is missing."""
    for what, there in (("chromium", CHROMIUM), ("chromedriver", DRIVER)):
        if not there:
            pytest.skip(f"{what} is not installed: apt-get install chromium chromium-driver")
    if not importlib.util.find_spec("selenium"):
        pytest.skip("selenium is not installed; it comes with the extra dev")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = CHROMIUM
    options.accept_insecure_certs = True
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Root cannot use Chromium's sandbox, and containers have little shared memory.
    words = ["headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "no-proxy-server", "mute-audio"]
    words += ["use-fake-device-for-media-stream", "use-fake-ui-for-media-stream"] if camera else []
    for word in words:
        options.add_argument(f"--{word}")
    driver = Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(60)
    return driver


def screen(driver: "Chrome", width: int, height: int, dark: bool) -> None:
    """Set the size of the page in CSS pixels, and whether the reader has asked for dark colours.

    Below 600 pixels it is a phone, which heeds the viewport of the page.
    """
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def errors(driver: "Chrome") -> list[str]:
    """What the console has called severe since the last call: exceptions, refused scripts, missing files."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def barriers(driver: "Chrome") -> list[str]:
    """What axe-core calls serious or critical for readers with a screen reader, a keyboard or weak eyes.

    One line per finding, with the elements. The test is skipped where axe-core is missing.
    """
    if not AXE.exists():
        pytest.skip("axe-core is not installed: `make install` fetches it where npm is, or name it with AXE=FILE")
    driver.execute_script(AXE.read_text(encoding="utf-8"))
    found = driver.execute_async_script("axe.run().then(arguments[0], error => arguments[0](String(error)))")
    assert isinstance(found, dict), found
    return [
        f"{finding['id']}: {finding['help']}: {[node['target'] for node in finding['nodes']]}"
        for finding in found["violations"]
        if finding["impact"] in WEIGHTS
    ]


def picture(driver: "Chrome", file: Path, whole: bool = True) -> None:
    """Write what is on the screen, or the whole length of the page, as PNG."""
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})
    file.write_bytes(base64.b64decode(taken["data"]))
