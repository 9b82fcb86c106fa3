import json

import pytest

from cutlayer.network.profiles import NETWORKS
from cutlayer.records.reading import read
from cutlayer.report.runs.bandwidth import RATES, bandwidth, sent
from cutlayer.report.runs.groups import group
from tests.report.conftest import result, write_run


def test_settings_of_the_same_size_share_a_row(runs):
    (entry,) = sent(group(read(runs)[0])[0])
    assert [s.label for s in entry.settings] == ["no defense", "gaussian-noise sigma=0.5", "gaussian-noise sigma=2.0"]
    assert (entry.codec, entry.sent_bytes, entry.tensor_bytes) == ("", 33100, 32768)
    assert entry.uncoded_bytes == 128 * 8 * 8 * 4


def test_the_rate_of_a_network_takes_so_many_requests(runs):
    (entry,) = sent(group(read(runs)[0])[0])
    assert "loopback" not in RATES, "it has no limit"
    assert entry.per_s(RATES["wifi"]) == pytest.approx(NETWORKS["wifi"].up_bps / 8 / 33100)
    assert ">56.6<" in bandwidth(group(read(runs)[0]))


def test_codecs_stand_side_by_side(tmp_path):
    for i, (codec, count) in enumerate((("raw", 33100), ("int8", 8400))):
        record = result(f"{i:012x}", 0.0) | {"codec": codec, "setup": codec}
        for cost in record["cost"]:
            cost |= {"tensor_bytes": count - 332, "kernel_bytes": count}
        write_run(tmp_path, record)
    groups = group(read(tmp_path)[0])
    assert sorted(g.title.rpartition(", ")[2] for g in groups) == ["codec int8", "codec raw"]
    page = bandwidth(groups)
    assert page.index(">int8<") < page.index(">raw<"), "the smallest first"
    assert ">25%<" in page


def test_records_without_sizes_have_no_table(runs):
    for path in runs.glob("*/result.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"cost": []}))
    assert bandwidth(group(read(runs)[0])) is None
