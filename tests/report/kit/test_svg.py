import re

import pytest

from cutlayer.report.kit.svg import Axis, Chart, Frame, decades, percent, place, ticks

FRAME = Frame(100.0, 80.0, left=10.0, right=90.0, top=5.0, bottom=65.0)


def test_a_linear_axis_has_equal_steps():
    chart = Chart(FRAME, Axis(0, 4, [], str), Axis(0, 2, [], str))
    assert [chart.x(v) for v in (0, 1, 4)] == [10, 30, 90]
    assert [chart.y(v) for v in (0, 1, 2)] == [65, 35, 5]


def test_a_logarithmic_axis_has_equal_ratios():
    chart = Chart(FRAME, Axis(1, 100, [], str, logarithmic=True), Axis(1, 4, [], str, logarithmic=True))
    assert [chart.x(v) for v in (1, 10, 100)] == pytest.approx([10, 50, 90])
    assert [chart.y(v) for v in (1, 2, 4)] == pytest.approx([65, 35, 5])


def test_each_tick_has_its_label_at_its_place():
    chart = Chart(FRAME, Axis(0, 1, (0.0, 0.5), percent, "share, %"), Axis(0, 1, (1.0,), percent, "rate, %"))
    labels = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">(\d+)<', chart.axes())
    assert labels == [("10.0", "0"), ("50.0", "50")]
    assert ">share, %</text>" in chart.axes()
    assert "rotate(-90)" in chart.axes()


def test_ticks_are_round_and_inside():
    assert ticks(0.6, 0.84) == pytest.approx([0.6, 0.65, 0.7, 0.75, 0.8])
    assert decades(1, 1000) == [1, 10, 100, 1000]
    assert decades(3, 40) == [5, 10, 20]


def test_a_label_avoids_what_is_taken():
    taken = []
    first = place(40, 40, "a", taken, FRAME.area)
    assert place(40, 40, "a", taken, FRAME.area) != first
