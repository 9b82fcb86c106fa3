import re

import pytest

from cutlayer.records.reading import read
from cutlayer.report.runs.groups import group
from cutlayer.report.runs.matrix import STEPS, leaked_by, matrix, step, worst_of
from tests.report.conftest import ATTACKS


@pytest.fixture
def noise(runs):
    (found,) = group(read(runs)[0])
    return found


def test_every_attack_has_a_cell_for_every_setting_and_the_worst_of_each_row_is_marked(noise):
    leaking, _ = matrix(noise).split("<details>")
    for setting in noise.settings:
        row = next(row for row in leaking.split("<tr>") if f'href="#{setting.anchor}"' in row)
        values = re.findall(r'class="heat h(\d)">(?:<b>)?([\d.\N{MINUS SIGN}]+)', row)
        assert [float(value) for _, value in values] == [
            pytest.approx(gain / (1 + setting.first.defense.get("sigma", 0)) * 100, abs=0.051) for *_, gain in ATTACKS
        ]
        assert row.count(">worst<") == 1
        assert re.search(r"<b>([\d.]+)</b><span", row)[1] == f"{setting.leakage.value * 100:.1f}"


def test_a_cell_is_the_deployment_where_the_attack_gets_most(runs):
    import json

    path = runs / "aaaaaaaaaaaa" / "result.json"
    record = json.loads(path.read_text())
    second = next(a for a in record["privacy"] if a["label"] == "nearest" and a["deployment"] == "grpc-onnx")
    second["leakage_gain"]["value"] = 0.77
    path.write_text(json.dumps(record))
    (found,) = group(read(runs)[0])
    assert leaked_by(found.settings[0])["nearest"].value == 0.77


def test_colors_rise_with_the_share():
    assert [step(share) for share in (-1.0, 0.0, *STEPS, 1.0)] == [0, 0, 1, 2, 3, 4, 5, 5]


def test_nothing_is_the_worst_of_nothing():
    assert worst_of({}) is None
