import numpy as np

from cutlayer.data.splits import Dataset, Splits
from cutlayer.experiment.flags import flags


def part(seed, n=20):
    images = np.random.default_rng(seed).random((n, 1, 8, 8), dtype=np.float32)
    return Dataset(images, np.zeros(n, np.int64))


def splits(private=3):
    return Splits("toy", ("one",), part(1), part(2), part(private), part(4))


def row(attack, access, low, value, high, n_releases=1):
    about = {"attack": attack, "label": attack, "access": access, "deployment": "zmq-onnx", "n_releases": n_releases}
    return about | {"leakage_gain": {"value": value, "low": low, "high": high, "n": 20}}


def names(rows, *, data=None, random=False, undefended=True):
    return {one["flag"] for one in flags(rows, data or splits(), 20, random, undefended)}


GOOD = [
    row("mean-image", "QUERY_FREE", 0, 0, 0),
    row("ridge", "BLACK_BOX", 0.8, 0.85, 0.9),
    row("white-box", "WHITE_BOX", 0.8, 0.9, 1),
]


def test_a_sound_evaluation_raises_none():
    assert names(GOOD) == set()


def test_weaker_access_that_beats_stronger():
    assert names([*GOOD[:2], row("white-box", "WHITE_BOX", 0.1, 0.2, 0.3)]) == {"weaker-beats-stronger"}


def test_overlapping_intervals_are_no_order():
    assert names([*GOOD[:2], row("white-box", "WHITE_BOX", 0.7, 0.75, 0.82)]) == set()


def test_an_undefended_model_that_nobody_inverts():
    weak = [row("ridge", "BLACK_BOX", 0.1, 0.2, 0.3)]
    assert names(weak) == {"baseline-not-invertible"}
    assert names(weak, undefended=False) == set()


def test_an_attack_at_the_mean_image():
    assert names([*GOOD, row("decoder", "BLACK_BOX", -0.3, -0.2, -0.1)]) == {"no-better-than-mean"}


def test_a_random_defense_without_averaging():
    assert names(GOOD, random=True) == {"no-averaging"}
    assert names([*GOOD, row("averaging", "BLACK_BOX", 0.8, 0.88, 0.9, n_releases=4)], random=True) == set()


def test_private_images_that_the_attacker_already_holds():
    assert names(GOOD, data=splits(private=2)) == {"auxiliary-overlap"}
    assert names(GOOD, data=splits(private=1)) == {"train-overlap"}
