"""Pages of runs on sentences and on rows: the same page as for pictures, in words and column by column."""

import json
import re

import numpy as np
import pytest

from cutlayer.data.legend import Legend
from cutlayer.data.modality import Column
from cutlayer.data.words import Piece
from cutlayer.records.reconstructions import Reconstructions
from cutlayer.records.run import load_result
from cutlayer.report.runs.page import write
from cutlayer.report.runs.terminal import text
from tests.browser import barriers, errors
from tests.report.conftest import estimate, read_results, result, write_run

COLUMNS = (Column("age", 0, (), 20, 100, 4), Column("job", 1, ("clerk", "nurse", "none")), Column("rate", 4, (), 0, 2))
WORDS = ("the", "size", "of", "each", "file", "is", "read", "from", "disk", "again")
PICTURES = re.compile(r"\b(pictures?|images?|camera|pixels?|PSNR|SSIM)\b", re.IGNORECASE)


def sentences(rng, gain):
    said = rng.integers(1, len(WORDS) + 1, (12, 8))
    said[::2, 6:] = 0
    read = np.where((rng.random(said.shape) < gain) | (said == 0), said, rng.integers(1, len(WORDS) + 1, said.shape))
    return said.astype(np.int32), read.astype(np.int32)


def table(rng, gain):
    held = rng.random((12, 5)).astype(np.float16)
    held[:, 1:4] = np.eye(3)[rng.integers(0, 3, 12)]
    made = np.where(rng.random(held.shape) < gain, held, held.mean(0)).astype(np.float16)
    return held, made


LEGENDS = {
    "tokens": Legend({i: Piece(word, glued=False, says=True) for i, word in enumerate(WORDS, start=1)}),
    "table": Legend(columns=COLUMNS),
}
MAKES = {"tokens": sentences, "table": table}
METRICS = {
    "tokens": {"token-accuracy": estimate(0.9, 0.05), "exact": estimate(0.2, 0.1), "rouge-l": estimate(0.9, 0.1)},
    "table": {"columns-right": estimate(0.9, 0.05), "psnr": estimate(20, 1), "identification": estimate(0.5, 0.1)},
}


def write_kind(runs, modality):
    """Three runs as in `conftest.runs`, on inputs of another kind."""
    for run_id, sigma in (("aaaaaaaaaaaa", 0.0), ("bbbbbbbbbbbb", 0.5), ("cccccccccccc", 2.0)):
        record = result(run_id, sigma) | {"modality": modality, "data": "notes", "claim": "", "spectrum": None}
        for row in record["privacy"]:
            row.update(metrics=METRICS[modality], label=row["label"].replace("image", "guess"))
        record["privacy"] = [row | {"published": None} for row in record["privacy"]]
        worst = record["worst_case"]
        record["worst_case"] = {k: worst[k] for k in ("attack", "label", "deployment", "access", "n_releases",
                                                      "leakage_gain")} | METRICS[modality]  # fmt: skip
        for found in record["identification"]:
            found.update(label=found["label"].replace("image", "guess"))
        load_result(record)
        write_run(runs, record | {"input": [1, 4, 4]})
        (runs / run_id / "result.json").write_text(json.dumps(record | {"input": [8]}))
        rebuilt = {}
        for row in record["privacy"]:
            true, made = MAKES[modality](np.random.default_rng(0), row["leakage_gain"]["value"])
            rebuilt[row["deployment"], row["label"]] = made
        kept = Reconstructions(true, np.arange(12) % 4, np.arange(12), rebuilt, None, LEGENDS[modality].text())
        np.savez_compressed(runs / run_id / "reconstructions.npz", **kept.arrays())
    return runs


@pytest.fixture(params=["tokens", "table"])
def kind(request):
    return request.param


def visible(source):
    body = re.sub(r"<(style|script|head).*?</\1>", "", source, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_no_page_and_no_terminal_speaks_of_pictures_where_there_are_none(tmp_path, kind):
    source = write(write_kind(tmp_path, kind)).read_text()
    assert set(PICTURES.findall(visible(source))) <= {"PSNR"}, "a metric of numbers, in the table of every attack"
    assert set(PICTURES.findall(re.sub(r'<(style|script).*?</\1>| class="[^"]*"', "", source, flags=re.S))) <= {"PSNR"}
    assert "<img" not in source
    assert PICTURES.findall(text(read_results(tmp_path))) == []


def test_sentences_are_written_with_what_was_read_wrongly_marked(tmp_path):
    source = write(write_kind(tmp_path, "tokens")).read_text()
    assert "What was said to the device" in source
    true, _ = sentences(np.random.default_rng(0), 1)
    first = " ".join(WORDS[i - 1] for i in true[0] if i)
    assert f"<li>{first}</li>" in source
    opening = source[: source.index("Privacy, accuracy and time")]
    assert opening.count('<ol class="sentences"') == 1 + 3, "what was said, and what was read under each defense"
    assert re.search(r"<small>\d of 6 tokens right</small>", opening)
    of_noise = source[source.index('id="g1-s2"') :]
    assert of_noise.count("tokens right") == 2 * 3 * 6, "most and median, three of each, six attacks"
    assert 'class="wrong"' in of_noise


def test_rows_are_shown_column_by_column(tmp_path):
    source = write(write_kind(tmp_path, "table")).read_text()
    assert "What the device held" in source
    opening = source[: source.index("Privacy, accuracy and time")]
    assert opening.count('<table class="rows"') == 1 + 3
    assert re.search(r'<th scope="row">job</th><td>(clerk|nurse|none)</td>', opening)
    assert re.search(r"was (clerk|nurse|none)", opening)
    of_noise = source[source.index('id="g1-s2"') :]
    assert "gaussian-noise sigma=2.0: the row that leaks most" in of_noise
    assert "gaussian-noise sigma=2.0: a median row" in of_noise


@pytest.mark.parametrize("damage", [lambda a: a.pop("legend"), lambda a: a.update(legend=np.zeros(3, np.uint8)),
                                    lambda a: a.update(legend=np.array(["x"]))])  # fmt: skip
def test_without_a_legend_the_numbers_are_shown(tmp_path, kind, damage):
    runs = write_kind(tmp_path, kind)
    for path in runs.glob("*/reconstructions.npz"):
        with np.load(path) as stored:
            arrays = dict(stored)
        damage(arrays)
        np.savez(path, **arrays)
    source = write(runs).read_text()
    assert ("#1" if kind == "tokens" else "number 1") in source or "could not be read" in source


def test_arrays_of_another_shape_are_no_crash(tmp_path, kind):
    runs = write_kind(tmp_path, kind)
    other = np.zeros((12, 3, 2, 2), np.float16)
    np.savez(runs / "aaaaaaaaaaaa" / "reconstructions.npz", **Reconstructions(other, np.zeros(12, int),
                                                                            np.arange(3)).arrays())  # fmt: skip
    many = {"tokens": "sentences", "table": "rows"}[kind]
    assert f"The {many} of this run could not be read." in write(runs).read_text()


def test_pages_of_several_kinds_speak_of_inputs(tmp_path):
    write_kind(tmp_path, "tokens")
    write_run(tmp_path, result("dddddddddddd", 0.0))
    shown = visible(write(tmp_path).read_text())
    assert "The input never leaves the device." in shown
    assert "What the camera saw" in shown
    assert "What was said to the device" in shown


def test_the_numbers_of_the_longest_sentence_are_told_apart_from_the_size_of_the_median(tmp_path):
    write_kind(tmp_path, "tokens")
    for path in tmp_path.glob("*/result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"smashed": [8, 16]}))
    shown, printed = visible(write(tmp_path).read_text()), " ".join(text(read_results(tmp_path)).split())
    assert "the device sends at most 128 numbers, 16 for each token (32.8 kB in the median of the sentences" in shown
    assert "at most 128 numbers leave the device for each sentence" in printed
    of_float32 = shown.partition("Of float32")[2]
    assert "32.8 kB – " in of_float32, "no record states the length of the median"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_pages_of_sentences_and_rows_are_readable_by_all_at_any_width(browse, tmp_path, kind, width, dark):
    driver = browse(width=width, dark=dark)
    for path in write_kind(tmp_path, kind).glob("*/result.json"):
        path.write_text(path.read_text().replace('"white-box"', '"nearest-activation words=asked"'))
    driver.get(write(tmp_path).as_uri())
    driver.execute_script("for (const folded of document.querySelectorAll('details')) folded.open = true")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert driver.execute_script(
        "const headline = document.querySelector('table.headline');"
        "return headline.offsetWidth <= headline.parentElement.clientWidth"
    )
    assert errors(driver) == []
    assert barriers(driver) == []
