"""`cutlayer attack SPLIT TAP --watch`: a tap on the big screen while it is recorded."""

import subprocess
import sys

import numpy as np
import pytest

from cutlayer.cloud.tap import Tap
from cutlayer.data.load import load
from cutlayer.errors import SplitError
from cutlayer.live.watching import watch_tap
from cutlayer.spec import image_spec
from cutlayer.split_folder import open_split
from tests.browser import barriers, errors
from tests.live.browser.page import shown, text, until
from tests.tiny_split import edge_at, serving, write_split


@pytest.fixture
def split(tmp_path):
    write_split(tmp_path / "split", data="digits", input=image_spec(1, 8, 8), channels=6, classes=10)
    return tmp_path / "split"


def command(*words):
    return [sys.executable, "-m", "cutlayer.cli", "attack", *map(str, words), "--watch"]


def test_a_tap_is_attacked_while_it_grows_and_nothing_can_be_switched(split, tmp_path, browse):
    digits = load("digits", None, 0).test.inputs
    tap = Tap(tmp_path / "tap", open_split(split).manifest)
    words = command(split, tmp_path / "tap", "--out", tmp_path / "out")
    with serving(split, "inprocess", tap=tap) as client:
        edge = edge_at(split, client)
        edge.infer(digits[:1], 0)
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            address = process.stdout.readline().split()[1]
            driver = browse()
            driver.get(address)
            # A device that sends while the page is open.
            for number, picture in ((0, digits[0]), (1, digits[5])):
                if number:
                    edge.infer(digits[5:6], number)
                until(driver, f"document.querySelector('.card')?.dataset.frame === '{number}'")
                until(driver, "document.querySelector('.rebuilt canvas').width === 8")
                error = np.inf
                for _ in range(200):
                    made = shown(driver, "document.querySelector('.rebuilt canvas')")[..., 0]
                    if (error := np.square(made - picture[0]).mean()) < 0.02:
                        break
                assert error < 0.02
            assert text(driver, ".saw .kept") == "The picture stays on the device."
            assert text(driver, ".answer strong") in "0123456789"
            assert not driver.execute_script("return document.querySelector('.card .control').offsetParent")
            assert driver.execute_script("return document.getElementById('open-join').hidden")
            assert barriers(driver) == []
            assert errors(driver) == []
        finally:
            process.terminate()
            out, error = process.communicate(timeout=60)
    tap.close()
    assert process.returncode == 0, out + error


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--count", "5"], "--watch shows the newest requests, and does not go with --count."),
        (["--data", "digits"], "holds no tap that can be read"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_one_sentence(split, tmp_path, options, expected):
    done = subprocess.run(
        command(split, tmp_path / "missing", *options), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_tap_of_another_split_is_refused(split, tmp_path):
    write_split(tmp_path / "other", seed=1, data="digits", input=image_spec(1, 8, 8), channels=6, classes=10)
    tap = Tap(tmp_path / "tap", open_split(tmp_path / "other").manifest)
    with serving(tmp_path / "other", "inprocess", tap=tap) as client:
        edge_at(tmp_path / "other", client).infer(load("digits", None, 0).test.inputs[:1], 0)
    tap.close()
    watched = watch_tap(tmp_path / "tap", open_split(split), "digits", out=tmp_path / "out", attackers=("ridge",))
    with pytest.raises(SplitError, match="was recorded for tiny@relu"), watched:
        pass
