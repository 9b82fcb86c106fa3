import math

import pytest

from cutlayer.records.run import Estimate
from cutlayer.registry import ATTACKS, METRICS
from cutlayer.report.kit import wording
from cutlayer.report.kit.wording import duration, points, scale, size


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0"), (71, "71 ns"), (412_300, "412 µs"), (999_400, "999 µs"), (999_600, "1.00 ms"), (4_020_000, "4.02 ms"),
        (41_300_000, "41.3 ms"), (1_200_000_000, "1.20 s"), (None, "–"),
    ],
)  # fmt: skip
def test_durations_choose_their_unit(ns, text):
    assert duration(ns).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(("count", "text"), [(None, "–"), (12, "12 B"), (33_100, "33.1 kB"), (66_000_000, "66.0 MB")])
def test_sizes_are_decimal(count, text):
    assert size(count).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(("difference", "text"), [(-0.034, "−3.4"), (0.012, "+1.2"), (0.0001, "0.0"), (math.nan, "–")])
def test_differences_are_signed_points(difference, text):
    assert points(difference) == text


def test_a_metric_states_its_unit_and_which_way_leaks():
    assert (scale("psnr").heading, scale("psnr").direction) == ("PSNR, dB", "higher leaks more")
    assert scale("mse").direction == "lower leaks more"
    assert (scale("of-the-future").heading, scale("of-the-future").direction) == ("of-the-future", "")


def test_an_interval_that_was_not_measured_is_not_printed():
    assert scale("ssim").interval(Estimate(0.5, 1, math.nan, math.nan)) == ""
    assert scale("ssim").interval(Estimate(0.5, 9, 0.4, 0.6)) == "0.400 to 0.600"


def test_what_is_known_carries_its_own_words_and_what_is_not_goes_by_its_name():
    assert all(wording.attack_words(name) for name in ATTACKS)
    assert wording.attack_words("of a later version") == ""
    assert all(scale(name).explanation for name in METRICS)
    assert wording.in_order({"zeta", "ssim", "alpha", "mse"}) == ["mse", "ssim", "alpha", "zeta"]
