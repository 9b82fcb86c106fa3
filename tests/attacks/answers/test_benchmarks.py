"""The benchmark of class-level inversion that is made for a GPU, run to its end without one."""

import re

import numpy as np
import pytest

from benchmarks import full_class_level
from cutlayer.data.splits import Dataset, Splits
from cutlayer.errors import DataError
from cutlayer.privacy import judges


def test_every_part_runs_to_its_end(capsys, monkeypatch):
    monkeypatch.setattr(judges, "STEPS", 2)
    monkeypatch.setattr(judges, "LEAST", 1)
    full_class_level.main(tiny=True)
    printed = capsys.readouterr().out
    assert "failed" not in printed
    assert "left out" not in printed
    for part in full_class_level.PARTS:
        assert re.search(rf"^{part}, seed 0: the victim is right about [\d.]+%;", printed, re.MULTILINE), printed
    for title in ("attack", "floor", "ceiling"):
        assert len(re.findall(rf"^    {title} +n=\d+x[12] acc@1 [01]\.\d\d", printed, re.MULTILINE)) == len(
            full_class_level.PARTS
        )


def test_a_part_whose_data_are_not_there_is_left_out_and_one_that_fails_is_named(capsys, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise RuntimeError("the card is gone")

    full_class_level.main(data_root=tmp_path, parts=("gmi", "deep-inversion"))
    printed = capsys.readouterr().out
    assert re.search(r"gmi, seed 0 is left out: .*celeba", printed)
    assert "deep-inversion, seed 0 is left out: it takes --weights" in printed
    monkeypatch.setattr(full_class_level, "classes", fail)
    with pytest.raises(SystemExit, match="1"):
        full_class_level.main(data_root=tmp_path, parts=("gmi",))
    assert "the card is gone" in capsys.readouterr().out


def test_people_with_most_photographs_are_classes_and_nobody_is_on_both_sides():
    def photographs(counts, first):
        groups = np.repeat(np.arange(first, first + len(counts)), counts)
        marked = groups[:, None, None, None] / 100 * np.ones((1, 1, 2, 2))
        return Dataset(marked.astype(np.float32), np.zeros(len(groups), np.int64), groups=groups)

    none = photographs([1], 90)
    splits = Splits(
        "faces", ("a", "b"), photographs([5, 2, 10], 0), photographs([1, 3, 2, 4, 5, 6, 7, 8, 9], 20), none, none
    )
    data = full_class_level.people(splits, 2, None, 1000)
    assert data.n_private == 2
    assert np.bincount(data.train.labels).tolist() == [8, 4]  # persons 2 and 0, every fifth photograph held out
    assert np.bincount(data.held_out.labels).tolist() == [2, 1]
    assert np.unique(data.train.inputs[data.train.labels == 0]) == np.float32(0.02)
    assert set(np.unique(data.auxiliary.labels)) == set(range(2, 10))
    assert len(data.auxiliary) == 44  # without the person of one photograph
    assert not data.shared
    other = full_class_level.people(splits, 2, none, 1000)
    assert other.auxiliary.labels.tolist() == [2]
    with pytest.raises(DataError, match="do not say who"):
        full_class_level._most_photographed(Dataset(none.inputs, none.labels), 2)
