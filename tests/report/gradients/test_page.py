"""The part of the report on updates, and its table in the terminal, from records that were made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from cutlayer.errors import CutlayerError
from cutlayer.records import gradients as records
from cutlayer.records.gradients import UpdateRecord, UpdateScore
from cutlayer.records.run import Estimate, Published
from cutlayer.report.gradients import terminal
from cutlayer.report.gradients.groups import group
from cutlayer.report.runs.page import write


def estimate(value, infinite=0):
    return Estimate(value, 10, value, value, infinite=infinite)


def record(attack="ridge", defense="none", *, gain=0.5, rebuilt=0.0, psnr=20.0, **other):
    score = UpdateScore(
        n=10, metrics={"psnr": estimate(psnr), "rebuilt": estimate(rebuilt)}, leakage_gain=estimate(gain)
    )
    key = f"{attack}{defense}{other.get('samples', 1)}{other.get('epochs', 0)}{other.get('seed', 0)}"
    values = {"samples": 1, "epochs": 0, "seed": 0, "own": score, **other}
    return UpdateRecord(
        id=f"{abs(hash(key)):012x}"[:12], study="abc", name="n", claim="A claim.", data="mnist", model="lenet",
        defense=defense, defense_label=defense, attack=attack, label=attack, **values,
    )  # fmt: skip


def written(folder, *made, pictures=None):
    for one in made:
        records.write(folder / one.study, one, pictures or {})
    return write(folder).read_text()


def test_the_worst_attack_is_the_one_that_rebuilds_most_samples():
    """And not the one with the least mean error, which a few failures of an exact attack raise."""
    (study,) = group(
        [record("steady", gain=0.6), record("exact or nothing", gain=-0.5, rebuilt=0.7), record("mean", gain=0)]
    )
    assert study.worst("none", (0, 0, 1)).first.attack == "exact or nothing"
    (study,) = group([record("steady", gain=0.6), record("weak", gain=0.1), record("floor", gain=0.9, floor=True)])
    assert study.worst("none", (0, 0, 1)).first.attack == "steady"
    assert study.worst("other", (0, 0, 1)) is None


def test_seeds_are_averaged():
    (study,) = group([record(gain=0.2), record(gain=0.4, seed=1)])
    cell = study.cell("none", "ridge", (0, 0, 1))
    assert cell.gain.value == pytest.approx(0.3)
    assert (cell.gain.low, cell.gain.high) == (0.2, 0.4)


def test_the_page_shows_defenses_floors_attacks_failures_and_what_no_defense_touches(tmp_path):
    images = {name: np.full((2, 1, 8, 8), 0.5, np.float16) for name in ("originals", "rebuilt")}
    page = written(
        tmp_path,
        record(rebuilt=1.0, published=Published(values={"psnr": 30.0}, source="Somebody, 2020")),
        record(defense="soteria", rebuilt=0.6),
        record(defense="noise", gain=0.1),
        record("batch mean", floor=True, gain=0.3),
        record("dlg", "noise", own=None, failed="It takes single samples."),
        record(samples=8, epochs=2),
        pictures=images,
    )
    for words in (
        "What do model updates give away?", "lenet on mnist", "A claim.", "smashed data go up for every sample",
        "Batch mean", "a floor, no attack", "Every attack on every defense", "It takes single samples.",
        "B 8, after 2 epochs", "Somebody, 2020", "cutlayer gradients runs/ID/gradients.toml",
    ):  # fmt: skip
        assert words in page, words
    # The undefended update is no broken defense, and noise keeps.
    assert page.count(">broken<") == 1
    assert page.count("<img") == 4  # the originals, and one strip for each of three defenses


def test_samples_that_a_defense_has_changed_are_shown_beside():
    made = record(defense="vrm")
    (study,) = group([replace(made, used=replace(made.own, metrics={"psnr": estimate(40.0)}))])
    assert study.cell("vrm", "ridge", (0, 0, 1)).metric("psnr", used=True).value == 40


def test_a_damaged_cell_is_listed_and_the_others_are_shown(tmp_path):
    page = written(tmp_path, record(), record(defense="noise"))
    assert "damaged" not in page
    (tmp_path / "abc" / records.CELLS / "zzz.json").write_text("{")
    (tmp_path / "run").mkdir()
    assert "lenet on mnist" in write(tmp_path).read_text()
    with pytest.raises(CutlayerError, match="holds no finished run"):
        write(tmp_path / "run")


def test_the_terminal_says_it_too():
    text = terminal.text(
        [record(), record(defense="noise"), record("dlg", own=None, failed="It takes single samples.")]
    )
    assert "B 1, untrained" in text
    assert "no defense" in text
    assert "It takes single samples." in text
    assert text.endswith("touches them.")


def test_markup_in_a_record_stays_text(tmp_path):
    page = written(tmp_path, record(attack="<script>", failed="<b>", own=None), record(defense="<i>"))
    assert "<script>" not in page
    assert "<i>" not in page
