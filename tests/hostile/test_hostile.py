"""The short form of `make hostile`: every case, over both transports, with keys or without by turns."""

import pytest

from tests.hostile.case import cases
from tests.hostile.run import check
from tests.hostile.stage import LANES, Stage, two_keys
from tests.tiny_split import write_split


@pytest.mark.parametrize("lane", LANES)
def test_nobody_stops_a_server_for_the_others(tmp_path, lane):
    write_split(tmp_path / "split")
    secured = lane != LANES[lane]
    chosen = [case for case in list(cases().values())[secured::2] if LANES[lane] in case.transports and not case.long]
    with Stage(tmp_path / "split", lane, two_keys(tmp_path / "keys")) as stage:
        for case in chosen:
            survival = stage.survive(case, 0.15)
            check(survival)
            assert survival.outcomes.total(), case.name
