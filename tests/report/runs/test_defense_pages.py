import re

import numpy as np
import pytest

from cutlayer.records.reading import read
from cutlayer.report.kit.inputs import Inputs, gains
from cutlayer.report.runs.defense_pages import chosen, defense_pages
from cutlayer.report.runs.depth import FULL, Depth
from cutlayer.report.runs.groups import group


@pytest.fixture
def noise(runs):
    (found,) = group(read(runs)[0])
    return found


def test_each_defense_has_a_page_with_every_strength_and_what_every_attack_rebuilt(noise):
    page = defense_pages(noise, FULL)
    assert page.count('<details class="defense">') == 2, "no defense, and noise"
    for family in noise.families:
        assert f'href="#{family.anchor}"' in page
        assert f'id="{family.anchor}"' in page
    for setting in noise.settings:
        part = re.search(rf'<h4 id="{setting.anchor}">.*?(?=<h4|</details>)', page, re.S)[0]
        alts = re.findall(r'alt="([^"]+)"', part)
        assert len(alts) == 2 * (1 + 6), "what was sent and six attacks, of those that leak most and of the median ones"
        assert alts[0].startswith(f"Sent with {setting.label}, leak most: ")
        assert alts[2].startswith(f"white-box with {setting.label}, leak most: "), "the worst attack first"


def test_those_that_leak_most_come_first_and_the_median_ones_lie_in_the_middle():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 256, (21, 1, 4, 4)).astype(np.uint8)
    mixed = np.linspace(0, 1, 21)[:, None, None, None]
    rebuilt = (mixed * true.mean(0) + (1 - mixed) * true).astype(np.uint8)
    most, median = chosen(Inputs("image", true), Inputs("image", rebuilt), 3)
    assert most.indices == [0, 1, 2]
    assert median.indices == [9, 10, 11]
    order = gains(Inputs("image", rebuilt), true)
    assert order[0] == pytest.approx(1.0)
    assert abs(order[20]) < 0.01, "the average picture leaks nothing"


def test_all_of_a_few_pictures_are_shown():
    true = np.arange(3 * 16, dtype=np.uint8).reshape(3, 1, 4, 4)
    (case,) = chosen(Inputs("image", true), Inputs("image", true), 3)
    assert case.indices == [0, 1, 2]


def test_a_page_of_less_depth_has_fewer_and_smaller_pictures(noise):
    page = defense_pages(noise, Depth(cases=1, attacks=2, side=16))
    assert page.count("<img") == 3 * 2 * (1 + 2)
    assert set(re.findall(r'<img [^>]*width="(\d+)"', page)) == {"16"}
    assert "The 4 weaker attacks are in the records." in page
    assert "<img" not in defense_pages(noise, Depth(cases=0, attacks=0))
