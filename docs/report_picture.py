"""Draw `report.jpg` from the records of a plan: what opens the page and the frontier, as Chromium shows them.

.venv/bin/python docs/report_picture.py RUNS FILE.jpg
"""

import base64
import io
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from cutlayer.report.runs.page import write

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

WIDTH, SHOWN = 1180, 900
"""Pixels of the page's width, and of the picture's."""
STORY, PANELS = 298, 610
"""Pixels of the height of what opens the page, and of the first two figures."""


def draw(runs: Path, out: Path) -> None:
    """The upper row of the opening and of the frontier, where the line below it tells one of the marks."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", f"window-size={WIDTH},900"):
        options.add_argument(f"--{word}")
    browser = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        browser.get(write(runs).resolve().as_uri())
        # The mark in the middle of the first figure is told in its caption.
        browser.execute_script(
            "const marks = document.querySelectorAll('#g1-leakage-accuracy a.mark');"
            "marks[Math.floor(marks.length / 2)].focus({preventScroll: true})"
        )
        clips = [_clip(browser, f"#g1 {part}", most) for part, most in (("section .story", STORY), (".panels", PANELS))]
    finally:
        browser.quit()
    sheet = Image.new("RGB", (clips[0].width, sum(clip.height for clip in clips)))
    for number, clip in enumerate(clips):
        sheet.paste(clip, (0, sum(before.height for before in clips[:number])))
    height = round(sheet.height * SHOWN / sheet.width)
    sheet.resize((SHOWN, height), Image.Resampling.LANCZOS).save(out, quality=72, optimize=True)


def _clip(browser: "Chrome", selector: str, most: int) -> Image.Image:
    """The upper part of an element, as wide as the page."""
    top, height = browser.execute_script(
        "const at = document.querySelector(arguments[0]).getBoundingClientRect(); return [at.y + scrollY, at.height]",
        selector,
    )
    place = {"x": 0, "y": top - 12, "width": WIDTH, "height": min(height, most) + 24, "scale": 1}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": place})
    return Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
