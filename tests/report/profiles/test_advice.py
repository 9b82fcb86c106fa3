"""What a profile advises, in sentences: the truth of the matter comes first."""

import dataclasses
from pathlib import Path

import pytest

from cutlayer.records.profile import Alternative, Bandwidth, Energy, Span
from cutlayer.records.profile_files import read
from cutlayer.report.kit.wording import duration
from cutlayer.report.profiles import advice, page, terminal

GOLDEN = read(Path(__file__).parents[2] / "golden" / "profile")
LOOPBACK, SLOW = GOLDEN.recommendations
NBSP = "\N{NO-BREAK SPACE}"


def with_recommendations(*recommendations, **changes):
    return dataclasses.replace(GOLDEN, recommendations=recommendations, **changes)


def alone(recommendation, ns, off_ns=0.0):
    return dataclasses.replace(recommendation, device_alone_ns=ns, device_alone_off_ns=off_ns)


def headline(profile):
    return advice.headline(profile, duration).replace(NBSP, " ")


def test_where_the_device_alone_is_faster_the_first_words_are_not_to_split():
    assert headline(GOLDEN) == (
        "Do not split for speed: the device alone takes 14.4 µs, and the fastest split 591 µs over loopback and "
        "5.59 ms over 200mbit/2ms."
    )


def test_networks_with_other_answers_are_told_apart():
    profile = with_recommendations(alone(LOOPBACK, 2e6), alone(SLOW, 2e6))
    assert headline(profile) == (
        "Do not split for speed over 200mbit/2ms: the device alone takes 2.00 ms, and the fastest split 5.59 ms over "
        "200mbit/2ms. Split for speed over loopback: the fastest split takes 591 µs over loopback, and the device "
        "alone 2.00 ms."
    )


def test_what_is_not_told_apart_gains_nothing():
    best = SLOW.best
    near = with_recommendations(alone(SLOW, best.latency_ns + best.off_ns + 1e5, 2e5))
    assert near.recommendations[0].faster == "even"
    assert headline(near).startswith("A split gains no speed: the device alone takes 5.")
    far = alone(SLOW, best.latency_ns + 3 * best.off_ns + 1e6, 2e5)
    assert far.faster == "split"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"local_ns": None}, "the device alone is no choice: it has no tail"),
        ({}, "the device alone is no choice: it breaks a limit"),
    ],
)
def test_a_device_that_cannot_do_it_alone_is_said(changes, sentence):
    assert sentence in headline(with_recommendations(alone(SLOW, None), **changes))


def test_no_split_within_the_limits_is_said():
    none = dataclasses.replace(SLOW, best=None, why_none="No cut keeps the limit on leakage.", as_good=())
    assert headline(with_recommendations(none)) == "Over 200mbit/2ms, no split keeps the limits."


def test_a_verdict_that_is_not_valid_stands_before_all_advice():
    assert headline(dataclasses.replace(GOLDEN, verdict="INVALID")).startswith(
        "The figures are INVALID, for the reasons below. Do not split"
    )


def test_what_else_could_justify_a_split():
    (row, flat) = GOLDEN.cuts
    flat = dataclasses.replace(flat, head_file_bytes=1_000_000, tail_file_bytes=3_000_000)
    profile = dataclasses.replace(GOLDEN, cuts=(row, flat))
    (reasons,) = advice.other_reasons(profile, duration)
    reasons = reasons.replace(NBSP, " ")
    assert reasons.startswith("flat: memory at its peak 68.")
    assert "3.0 MB of 4.0 MB of the model's files kept at the server" in reasons
    assert "battery: " in reasons
    metered = dataclasses.replace(
        profile,
        cuts=(row, dataclasses.replace(flat, energy=Energy(0.5, "rapl"))),
        local_energy=Energy(2.0, "rapl"),
    )
    assert "energy 0.500 J for the head, 2.000 J for the whole model" in advice.other_reasons(metered, duration)[0]
    assert advice.other_reasons(with_recommendations(alone(LOOPBACK, 2e9)), duration) == []


def test_cuts_within_the_noise_are_said_to_be():
    def sentence(*others):
        return advice.best(GOLDEN, dataclasses.replace(SLOW, as_good=others), duration)

    assert "the 2 cuts are not told apart, so that speed" in sentence(Alternative("r1", "raw", 5.6e6))
    assert "not told apart from flat with raw" in sentence(Alternative("flat", "raw", 5.6e6))
    near = [
        dataclasses.replace(entry, as_good=(Alternative("r1", "raw", 6e6), Alternative("flat", "raw", 6e6)))
        for entry in GOLDEN.recommendations
    ]
    assert headline(with_recommendations(*near)).endswith(
        "not told apart on any network: none stands out for its speed."
    )
    assert "none stands out" not in headline(with_recommendations(near[0], dataclasses.replace(SLOW, as_good=())))


def test_another_cut_by_bandwidth_is_explained():
    networks = GOLDEN.networks | {"200mbit/2ms": dataclasses.replace(GOLDEN.networks["200mbit/2ms"], up_bps=2e8)}
    for at, other in ((1e8, "which is computed without what was measured"), (3e8, None)):
        spans = (Span("flat int8", 0.0, at), Span("r1 raw", at, None))
        profile = dataclasses.replace(GOLDEN, networks=networks, bandwidth=Bandwidth(False, (), spans))
        sentence = advice.best(profile, dataclasses.replace(SLOW, as_good=()), duration)
        assert (f"by bandwidth alone it is r1 raw, {other}" in sentence) == (other is not None)
        assert ("by bandwidth alone" in sentence) == (other is not None)


def test_terminal_and_page_say_the_same():
    sentences = [advice.headline(GOLDEN, duration), *advice.other_reasons(GOLDEN, duration)]
    sentences += [advice.best(GOLDEN, entry, duration) for entry in GOLDEN.recommendations]
    shown = page.page(GOLDEN)
    printed = " ".join(terminal.text(GOLDEN).split())
    for sentence in sentences:
        assert sentence.replace("'", "&#x27;") in shown
        assert sentence.replace(NBSP, " ").replace("µ", "u") in printed
