import pytest

from cutlayer.records.reading import read
from cutlayer.records.run import Passed, Spectrum
from cutlayer.report.kit.kinds import PICTURE
from cutlayer.report.runs.page import page
from cutlayer.report.runs.spectrum import sentence
from tests.report.conftest import result, write_run

BEFORE = Passed(256, 40, 3)


def in_words(passed, condition, undefended=False):
    return sentence(Spectrum(4, 256, 0.97, Passed(passed, condition, 3), BEFORE), undefended, PICTURE)


@pytest.mark.parametrize(
    ("passed", "condition", "verdict"),
    [
        (256, 40, "leaves that as it was"),
        (100, 40, "part of the picture is gone"),
        (100, 9000, "part of the picture is gone"),
        (256, 9000, "only fainter"),
        (250, 60, "about the same"),
    ],
)
def test_gone_is_told_from_faint(passed, condition, verdict):
    assert verdict in in_words(passed, condition)


def test_numbers_are_there_and_the_baseline_is_compared_with_nothing():
    assert in_words(256, 40, undefended=True) == (
        "Of the 256 directions in which such pictures differ most (97% of all their difference), the first layers pass "
        "on 256, the faintest 40 times more faintly than the strongest."
    )
    assert "pass on 0. Without the defense it is 256, and 40 times" in in_words(0, 1)


def test_each_defense_has_its_line(runs):
    html = page(*read(runs))
    assert html.count("directions in which such pictures differ most") == 3
    assert html.count("only fainter") == 2


def test_a_record_without_a_spectrum_is_read(tmp_path):
    record = result("dddddddddddd", 0.0)
    del record["spectrum"]
    write_run(tmp_path, record)
    (run,), skipped = read(tmp_path)
    assert run.result.spectrum is None
    assert "only faint?" not in page([run], skipped)
