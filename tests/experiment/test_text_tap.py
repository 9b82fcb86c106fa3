"""A recorded tap of sentences: attacked behind the fact, scored with the record, and looked at while it grows."""

import json
import subprocess
import sys

import numpy as np
import pytest

from cutlayer.cloud.tap import Tap
from cutlayer.data.load import load
from cutlayer.defenses.base import Defense
from cutlayer.edge.client import Edge
from cutlayer.edge.pipeline import Pipeline
from cutlayer.errors import DataError
from cutlayer.experiment.recorded import read_truth
from cutlayer.sequences import PAD, lengths
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.raw import Raw
from tests.browser import barriers, errors
from tests.live.browser.page import text, until
from tests.text_split import write_text_split
from tests.tiny_split import serving

N = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A split, its tap of the first private sentences, and what they were."""
    folder = tmp_path_factory.mktemp("tap")
    write_text_split(folder / "split")
    split = open_split(folder / "split")
    said = load("documentation").private.inputs[:N]
    tap = Tap(folder / "tap", split.manifest)
    with serving(folder / "split", "inprocess", tap=tap) as client:
        edge = Edge(split.manifest, Pipeline(split.head(), Defense(), Raw(), split.manifest.length), client)
        for number, ids in enumerate(said):
            edge.infer(ids[None], number)
    tap.close()
    np.savez(folder / "truth.npz", x=said)
    return folder


def command(folder, *words):
    return [sys.executable, "-m", "cutlayer.cli", "attack", *map(str, (folder / "split", folder / "tap", *words))]


def ran(folder, *words):
    return subprocess.run(command(folder, *words), capture_output=True, text=True, check=False, timeout=300)


def test_sentences_in_a_tap_are_read_by_the_attacks_that_read(folder, tmp_path):
    done = ran(folder, "--truth", folder / "truth.npz", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "attacks.json").read_text())["attacks"]
    shares = {row["attack"]: row["metrics"]["token-accuracy"]["value"] for row in rows}
    assert set(shares) == {"token-frequency", "token-ridge", "nearest-activation"}
    assert min(shares["token-ridge"], shares["nearest-activation"]) > 0.95
    assert shares["token-frequency"] < 0.5
    said = load("documentation").private.inputs[:N]
    with np.load(tmp_path / "reconstructions.npz") as kept:
        rebuilt = kept["rebuilt/token-ridge"]
    assert (rebuilt == said)[said != PAD].mean() > 0.95
    assert (lengths(rebuilt.astype(np.int64)) == lengths(said)).all()


@pytest.mark.parametrize("x", [np.zeros((N, 3), np.float32), np.ones((N, 33), int), np.full((N, 3), 2048)])
def test_a_truth_that_holds_no_sentences_is_refused(folder, tmp_path, x):
    np.savez(tmp_path / "truth.npz", x=x)
    with pytest.raises(DataError, match="whole numbers from 0 to 2,047, at most 32 in each row"):
        read_truth(tmp_path / "truth.npz").of(load("documentation"), N)


@pytest.mark.parametrize("more", [[], ["--watch"]])
def test_an_attack_that_reads_nothing_is_refused(folder, tmp_path, more):
    done = ran(folder, "--attacks", "ridge", "--out", tmp_path, *more)
    assert done.returncode == 2
    assert "token-ridge" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_page_shows_the_newest_sentence_of_a_tap(folder, tmp_path, browse):
    words = command(folder, "--out", tmp_path, "--watch")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        driver = browse()
        driver.get(process.stdout.readline().split()[1])
        data = load("documentation")
        said = " ".join(data.words[i] for i in data.private.inputs[N - 1] if i != PAD)
        # It learns after the last request was written, and then reads that one.
        until(driver, "document.querySelector('.reading .sentence')?.innerText")
        assert text(driver, ".reading .sentence") == said
        assert text(driver, ".leak") == "not scored"
        assert text(driver, ".saw .kept") == "The sentence stays on the device."
        assert barriers(driver) == []
        assert errors(driver) == []
    finally:
        process.terminate()
        out, error = process.communicate(timeout=60)
    assert process.returncode == 0, out + error
