from dataclasses import replace

import numpy as np
import pytest

from cutlayer.data.splits import Dataset, Splits
from cutlayer.experiment.adversary import Achieved
from cutlayer.experiment.flags import flags, unfit
from cutlayer.experiment.spec import Experiment, Measure
from cutlayer.metrics.interval import exact_proportion, proportion
from cutlayer.records.run import (
    PIXELS,
    WATCH_LIST,
    AttackRecord,
    Ceiling,
    CeilingAt,
    Estimate,
    IdentificationRecord,
    Passed,
    Spectrum,
    Utility,
)
from cutlayer.registry import defense_from
from cutlayer.tables import Named


def part(seed, n=20):
    images = np.random.default_rng(seed).random((n, 1, 8, 8), dtype=np.float32)
    return Dataset(images, np.zeros(n, np.int64))


def splits(private=3):
    return Splits("toy", ("one",), part(1), part(2), part(private), part(4))


def row(attack, access, low, value, high, n_releases=1):
    return AttackRecord(
        attack=attack, label=attack, access=access, deployment="zmq-onnx", n_releases=n_releases, fit_s=1.0,
        invert_s=1.0, n=20, metrics={}, leakage_gain=Estimate(value, 20, low, high),
    )  # fmt: skip


def found(how):
    share = Estimate(0.5, 20, 0.27, 0.73)
    return IdentificationRecord(
        attack="ridge", label="ridge", access="BLACK_BOX", deployment="zmq-onnx", n_releases=1, how=how, candidates=20,
        top_1=share, top_10=share,
    )  # fmt: skip


def spectrum(before=10.0, after=10.0):
    return Spectrum(2, 16, 1.0, head=Passed(16, after, 1), undefended=Passed(16, before, 1))


def names(rows, *, data=None, defense=None, attacks=(), passed=None, codec="raw", listed=(), bound=None):
    """Names of the flags that are raised; `attacks` and `defense` are entries of the plan."""
    entry, measure = defense or {"name": "none"}, Measure(private=20, codec=codec)
    attacks = tuple(map(named, attacks))
    experiment = Experiment("digits", "resnet20", "layer1", defense=named(entry), attacks=attacks, measure=measure)
    achieved = Achieved(tuple(rows), (*listed, found(WATCH_LIST)))
    raised = flags(
        experiment, achieved, data or splits(), defense_from(entry), passed or spectrum(),
        bound or Ceiling("deterministic"),
    )  # fmt: skip
    return {flag.flag for flag in raised}


def named(entry):
    options = {key: value for key, value in entry.items() if key not in ("name", "title")}
    return Named(entry["name"], options, entry.get("title", entry["name"]))


NOISE = {"name": "gaussian-noise", "sigma": 0.5}

GOOD = [
    row("mean-image", "QUERY_FREE", 0, 0, 0),
    row("ridge", "BLACK_BOX", 0.8, 0.85, 0.9),
    row("white-box", "WHITE_BOX", 0.8, 0.9, 1),
]


def test_without_a_watch_list_the_identified_share_is_suspect():
    experiment = Experiment("digits", "resnet20", "layer1")
    for achieved, expected in (
        (Achieved((), (found(PIXELS),)), 1),
        (Achieved(), 1),
        (Achieved((), (found(WATCH_LIST),)), 0),
    ):
        raised = flags(
            experiment, achieved, splits(), defense_from({"name": "none"}), spectrum(), Ceiling("deterministic")
        )
        assert [flag.flag for flag in raised].count("no-watch-list") == expected


def test_a_sound_evaluation_raises_none():
    assert names(GOOD) == set()


def test_weaker_access_that_beats_stronger():
    assert names([*GOOD[:2], row("white-box", "WHITE_BOX", 0.1, 0.2, 0.3)]) == {"weaker-beats-stronger"}


def test_overlapping_intervals_are_no_order():
    assert names([*GOOD[:2], row("white-box", "WHITE_BOX", 0.7, 0.75, 0.82)]) == set()


def test_an_undefended_model_that_nobody_inverts():
    weak = [row("ridge", "BLACK_BOX", 0.1, 0.2, 0.3)]
    assert names(weak) == {"baseline-not-invertible"}
    assert names(weak, defense={"name": "quantize"}) == set()


def test_an_attack_at_the_mean_image():
    assert names([*GOOD, row("decoder", "BLACK_BOX", -0.3, -0.2, -0.1)]) == {"no-better-than-mean"}


def test_an_attack_with_too_few_steps():
    few, enough = ({"name": "white-box", "iterations": n} for n in (49, 50))
    assert names(GOOD, attacks=[few]) == {"under-trained"}
    assert names(GOOD, attacks=[enough]) == set()
    assert names(GOOD[:2], attacks=[few]) == set(), "an attack that did not run has nothing to say"
    wrapped = {"name": "averaging", "title": "white-box", "attack": "white-box", "options": {"iterations": 5}}
    assert names(GOOD, attacks=[wrapped]) == {"under-trained"}


def test_a_random_defense_without_averaging():
    assert names(GOOD, defense=NOISE) == {"no-averaging"}
    assert names([*GOOD, row("averaging", "BLACK_BOX", 0.8, 0.88, 0.9, n_releases=4)], defense=NOISE) == set()


def test_averaging_that_still_gains():
    four, sixteen = (row("averaging", "BLACK_BOX", low, low + 0.02, low + 0.04, n) for low, n in ((0.5, 4), (0.7, 16)))
    rows = [row("ridge", "BLACK_BOX", 0.1, 0.2, 0.3), four, sixteen]
    assert names(rows, defense=NOISE) == {"averaging-not-exhausted"}
    assert names([*rows, row("averaging", "BLACK_BOX", 0.72, 0.73, 0.75, 64)], defense=NOISE) == set()


def test_averaging_counts_as_exhausted_by_attacks_of_one_kind():
    few, many = (row("averaging", "BLACK_BOX", low, low + 0.02, low + 0.04, n) for low, n in ((0.7, 16), (0.72, 64)))
    stronger = replace(row("averaging", "BLACK_BOX", 0.9, 0.92, 0.94, 64), label="averaging 64, decoder")
    kind = {"name": "averaging", "attack": "decoder", "n_releases": 64}
    experiment_attacks = [{"name": "averaging", "n_releases": 64}, kind | {"title": "averaging 64, decoder"}]
    assert names([few, many, stronger], defense=NOISE, attacks=experiment_attacks) == set()


def decoder(capacity, inside=""):
    options = {"capacity": capacity}
    return {"name": inside, "attack": "decoder", "options": options} if inside else {"name": "decoder", **options}


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("inside", ["", "averaging", "mask-aware"])
def test_a_decoder_weaker_than_the_defenders_own(inside, chained):
    defense = {"name": "adversarial", "decoder": "res_normN2C32"} | ({"then": {"name": "quantize"}} if chained else {})
    rows = [*GOOD, row(inside or "decoder", "BLACK_BOX", 0.8, 0.85, 0.9)]
    weaker = {"conv_normN2C32": {"decoder-too-small"}, "res_normN2C32": set(), "res_normN4C64": set()}
    for capacity, expected in weaker.items():
        assert names(rows, defense=defense, attacks=[decoder(capacity, inside)]) == expected
    assert names(GOOD, defense=defense) == {"decoder-too-small"}, "no decoder at all"
    assert names(GOOD, defense=defense | {"weight": 0.0}) == set(), "nothing was trained against one"


def test_an_attack_that_was_asked_for_but_not_run_does_not_count():
    defense = {"name": "adversarial", "decoder": "res_normN2C32"}
    assert names(GOOD, defense=defense, attacks=[decoder("res_normN4C64")]) == {"decoder-too-small"}


@pytest.mark.parametrize(
    ("defense", "codec"),
    [({"name": "top-k"}, "raw"), (None, "top-k:0.25+zstd"), ({"name": "quantize", "then": {"name": "top-k"}}, "raw")],
)
def test_a_mask_that_no_attack_was_told(defense, codec):
    assert names(GOOD, defense=defense, codec=codec) == {"no-mask-aware-attack"}
    rows, attacks = [*GOOD, row("mask-aware", "BLACK_BOX", 0.8, 0.85, 0.9)], [{"name": "mask-aware"}]
    assert names(rows, defense=defense, codec=codec, attacks=attacks) == set()


def test_a_gradient_that_may_only_be_masked():
    patrol, attack = {"name": "adversarial", "weight": 0.0}, {"name": "white-box"}
    faint = spectrum(before=10, after=5000)
    assert names(GOOD, defense=patrol, attacks=[attack], passed=faint) == {"no-preconditioned-attack"}
    rescaled = attack | {"misfit": ("plain", "whitened")}
    assert names(GOOD, defense=patrol, attacks=[rescaled], passed=faint) == set()
    assert names(GOOD, defense=patrol, attacks=[attack], passed=spectrum(5000, 5000)) == set(), "it was so before"


def test_private_images_that_the_attacker_already_holds():
    assert names(GOOD, data=splits(private=1)) == {"train-overlap"}


@pytest.mark.parametrize(
    ("baseline", "accuracy", "expected"),
    [
        (450, 440, []),
        (260, 255, ["victim-near-chance"]),
        (450, 250, ["defended-near-chance"]),
        (290, 290, ["victim-near-chance"]),
        (330, 330, []),
    ],
)
def test_a_victim_near_chance(baseline, accuracy, expected):
    labels = np.repeat([0, 1, 2], [250, 150, 100])  # Always 0 is right for half.
    utility = Utility(proportion(accuracy, 500), proportion(baseline, 500))
    assert [flag.flag for flag in unfit(utility, labels, "images")] == expected


def bound_at(n_releases, identified, gain):
    return CeilingAt(n_releases, *(Estimate(value, 60, value - 0.05, value) for value in (identified, gain)))


def test_an_attack_above_the_ceiling():
    rows, bound = GOOD[:2], Ceiling("", 60, (bound_at(1, 0.5, 0.7), bound_at(16, 0.9, 0.85)), 20.0, 64)
    above = {"above-the-ceiling"}
    assert names(rows, bound=bound) == above, "at least 80 % where no attacker has more than 70 %"
    assert names([rows[0], row("ridge", "BLACK_BOX", 0.69, 0.85, 0.9)], bound=bound) == set(), "within the interval"
    several = row("averaging", "BLACK_BOX", 0.8, 0.85, 0.9, n_releases=8)
    assert names([rows[0], several], bound=bound) == set(), "the ceiling of 16 releases holds for 8"
    assert names([rows[0], replace(several, n_releases=64)], bound=bound) == set(), "none was simulated for so many"


@pytest.mark.parametrize("how", [PIXELS, WATCH_LIST])
def test_identification_above_the_ceiling(how):
    bound = Ceiling("", 60, (bound_at(1, 0.5, 0.7),), None, 64)
    rows = [row("ridge", "BLACK_BOX", 0.5, 0.55, 0.6)]
    # 36 of 60 may be luck, and so may 40 among the hundreds of rates of a report.
    for hits, raised in ((36, set()), (40, set()), (45, {"above-the-ceiling"})):
        listed = replace(found(how), top_1=exact_proportion(hits, 60))
        assert names(rows, bound=bound, listed=[listed]) == raised
