"""The files of a profile: what older versions wrote is read, and written the same."""

import csv
import json
from pathlib import Path

import pytest

from cutlayer.errors import ConfigError
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.profile import Leakage, Quality
from cutlayer.records.profile_files import read, save
from cutlayer.records.run import Estimate

GOLDEN = Path(__file__).parents[1] / "golden" / "profile"


def test_an_old_profile_is_written_as_it_was_read(tmp_path):
    save(tmp_path, read(GOLDEN))
    assert (tmp_path / "profile.json").read_bytes() == (GOLDEN / "profile.json").read_bytes()
    now, then = (csv.DictReader((folder / "profile.csv").read_text().splitlines()) for folder in (tmp_path, GOLDEN))
    for row, old in zip(now, then, strict=True):
        # The bytes of a row are now those of the whole message.
        assert int(row["message_bytes"]) > int(old.pop("bytes"))
        assert old.items() <= row.items()


def test_the_figures_of_an_old_profile():
    profile = read(GOLDEN / "profile.json")
    assert profile.recommendations[1].best.latency_ns == 5588517.0
    assert profile.cuts[0].networks["200mbit/2ms"]["int8"].end_to_end_ns.p50 == 5663914
    assert profile.cuts[0].fastest("loopback")[0] == "raw"


def test_quality_is_in_the_record_where_it_was_measured():
    estimate = Estimate(0.5, 9, 0.4, 0.6)
    quality = Quality(leakage=Leakage(0.5, 9, 0.4, 0.6, "ridge", {"ridge": estimate}))
    value = dump(quality)
    assert set(value) == {"leakage"}
    assert value["leakage"]["of_each"] == {"ridge": {"value": 0.5, "n": 9, "low": 0.4, "high": 0.6}}
    assert load(Quality, json.loads(json.dumps(value))) == quality


@pytest.mark.parametrize("part", ["verdict", "cuts", "settings", "bandwidth"])
def test_a_profile_without_a_part_is_refused(part, tmp_path):
    data = json.loads((GOLDEN / "profile.json").read_text())
    del data[part]
    (tmp_path / "profile.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="is not a profile, or is damaged"):
        read(tmp_path)
