"""What tests of the big screen read from it."""

import numpy as np
from selenium.webdriver.support.ui import WebDriverWait


def until(driver, condition, timeout_s=120):
    """Wait until a JavaScript expression is true, and return its value."""
    return WebDriverWait(driver, timeout_s, 0.05).until(
        lambda _: driver.execute_script(f"return {condition}"), condition
    )


def text(driver, selector):
    """The text of the first element."""
    return driver.execute_script("return document.querySelector(arguments[0]).innerText", selector)


def shown(driver, canvas):
    """What a canvas shows, ``(H, W, 3)`` in [0, 1]; `canvas` is a JavaScript expression."""
    height, width, pixels = driver.execute_script(
        f"const canvas = {canvas};"
        "const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        "return [canvas.height, canvas.width, [...data]]"
    )
    return np.reshape(pixels, (height, width, 4))[..., :3] / 255
