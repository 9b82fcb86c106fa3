"""Which cuts are measured, and which of them is recommended."""

import dataclasses

from cutlayer.models.cut import Cut
from cutlayer.profile.advice import as_good, best, pareto, why_none
from cutlayer.profile.prepare import choose_cuts
from cutlayer.records.profile import Choice, Limits
from cutlayer.spec import TensorSpec


def cut(name, size, macs):
    return Cut(name, (), TensorSpec((size,)), 0, macs)


CUTS = [
    cut("normalize", 600, 0), cut("conv", 1600, 10), cut("relu", 1600, 10), cut("wide", 4800, 40), cut("pool", 300, 50),
    cut("block", 300, 75), cut("late", 300, 200), cut("narrow", 5, 300),
]  # fmt: skip


def names(cuts):
    return [cut.name for cut in cuts]


def test_what_sends_less_than_all_before_is_always_measured():
    assert names(choose_cuts(CUTS, 3)) == ["normalize", "pool", "narrow"]


def test_then_the_widest_gaps_are_filled_in_the_order_of_the_model():
    assert names(choose_cuts(CUTS, 4)) == ["normalize", "pool", "late", "narrow"]


def test_of_cuts_that_cost_the_same_the_last_one_stands_for_all():
    assert names(choose_cuts(CUTS, None)) == ["normalize", "relu", "wide", "pool", "block", "late", "narrow"]


def test_a_small_fall_gives_way_where_there_are_too_many():
    falls = [cut("a", 1000, 1), cut("b", 990, 2), cut("c", 10, 3)]
    assert len(choose_cuts(falls, 2)) == 2
    assert "c" in names(choose_cuts(falls, 2))


def limits(latency_ns=None, leakage=None, accuracy=None):
    return Limits(latency_ns, leakage, accuracy)


def choice(cut, latency, n_bytes=100, *, source="model", off=0, leakage=None, accuracy=None):
    return Choice(cut, "raw", n_bytes, latency, off, source, leakage, accuracy)


def test_the_fastest_within_the_limits():
    choices = [choice("a", 10, leakage=0.9, accuracy=0.9), choice("b", 20, leakage=0.2, accuracy=0.9)]
    assert best(choices, limits()).cut == "a"
    assert best(choices, limits(leakage=0.3)).cut == "b"
    assert best(choices, limits(latency_ns=15, leakage=0.3)) is None


def test_what_is_not_known_keeps_no_limit():
    assert best([choice("a", 10)], limits(leakage=0.9)) is None
    assert best([choice("a", 10)], limits(accuracy=0.1)) is None


def test_no_choice_says_which_limit_stands_in_the_way():
    choices = [choice("a", 10, leakage=0.9), choice("b", 20, leakage=0.2)]
    assert "leakage" in why_none(choices, limits(leakage=0.1))
    assert "latency and leakage" not in why_none(choices, limits(latency_ns=15, leakage=0.1))
    assert "latency and leakage" in why_none(choices[1:], limits(latency_ns=5, leakage=0.1))
    assert "together" in why_none(choices, limits(latency_ns=15, leakage=0.3))


def test_the_smallest_figure_wins_whether_it_was_measured_or_computed():
    measured, computed = choice("a", 30, source="measured"), choice("b", 29)
    assert best([measured, computed], limits()).cut == "b"
    assert best([measured, dataclasses.replace(computed, latency_ns=31)], limits()).cut == "a"
    assert best([measured, dataclasses.replace(computed, latency_ns=30, n_bytes=99)], limits()).cut == "b"


def test_what_is_slower_by_less_than_both_may_be_off_is_as_good():
    chosen = choice("a", 100, off=3)
    others = [choice("far", 106, off=4), choice("near", 105, off=4), choice("next", 101)]
    others.append(choice("leaks", 101, leakage=1))
    assert [choice.cut for choice in as_good(chosen, [chosen, *others[:3]], limits())] == ["next", "near"]
    known = [dataclasses.replace(other, leakage=other.leakage or 0.1) for other in others]
    assert "leaks" not in [choice.cut for choice in as_good(chosen, known, limits(leakage=0.3))]


def test_the_pareto_set_is_what_nothing_beats():
    fast, small = choice("fast", 10, 900), choice("small", 50, 10)
    beaten, private = choice("beaten", 60, 900), choice("private", 80, 950, leakage=0.1)
    front = pareto([beaten, small, private, fast])
    assert [choice.cut for choice in front] == ["fast", "small", "private"]


def test_equals_do_not_beat_each_other():
    assert len(pareto([choice("one", 10), choice("twin", 10)])) == 2
