"""Which points are measured through a network, and how what was computed is moved to them."""

import numpy as np

from cutlayer.profile.advice import half_interval
from cutlayer.profile.cost_model import shift, typical
from cutlayer.profile.sampling import LEAST_REQUESTS, MOST_REQUESTS, NETWORK_S, WARMUP, choose_points, p50
from cutlayer.trace import STAGES

MS = 1e6


def times(**ms):
    """Stages by cut and codec, from ``a_raw=10``."""
    return {tuple(name.split("_")): {"end_to_end": value * MS} for name, value in ms.items()}


def timed(*ms):
    return {"end_to_end_ns": np.array([value * MS for value in ms], np.int64)}


def everything(_):
    return True


def keys(points):
    return [key for key, _, _ in points]


def test_first_the_fastest_codec_of_the_two_fastest_cuts_and_one_other():
    predicted = times(a_raw=10, a_fp16=9, b_raw=20, b_fp16=12, c_raw=30)
    points = choose_points(predicted, {}, everything, [0])
    assert keys(points)[:2] == [("a", "fp16"), ("b", "fp16")]
    assert len(set(keys(points))) == 3
    assert all(samples == MOST_REQUESTS for _, samples, _ in points)


def test_what_the_model_is_checked_by_differs_between_networks():
    predicted = times(**{f"{cut}_{codec}": 10 + i for i, cut in enumerate("abcdefgh") for codec in ("raw", "fp16")})
    assert len({keys(choose_points(predicted, {}, everything, [0, place]))[2] for place in range(8)}) > 2


def test_then_the_fastest_of_all_unless_it_was_measured():
    predicted = times(a_raw=10, a_fp16=9, b_raw=20)
    measured = {("a", "fp16"): timed(11), ("b", "raw"): timed(20)}
    assert keys(choose_points(predicted, measured, everything, [0])) == [("a", "raw")]
    measured["a", "fp16"] = timed(8)
    assert choose_points(predicted, measured, everything, [0]) == []


def test_what_may_not_be_recommended_is_not_among_the_fastest():
    predicted = times(a_raw=10, b_raw=20, c_raw=30, d_raw=40)
    points = choose_points(predicted, {}, lambda key: key[0] in "cd", [0])
    assert keys(points)[:2] == [("c", "raw"), ("d", "raw")]


def test_there_is_time_for_so_much():
    slow = times(a_raw=NETWORK_S * 1000 / (LEAST_REQUESTS + WARMUP) * 0.9, b_raw=9e4)
    points = choose_points(slow, {}, everything, [0])
    assert [(key, samples) for key, samples, _ in points] == [(("a", "raw"), LEAST_REQUESTS)]
    assert choose_points(slow, {("b", "raw"): timed(NETWORK_S * 500)}, everything, [0]) == []


def test_a_codec_decides_about_its_own_stages_alone():
    def columns(head, encode, n_bytes):
        given = {"head_ns": head, "encode_ns": encode, "message_bytes": n_bytes, "answer_bytes": 80}
        return {name: np.full(9, ns) for name, ns in {**{f"{stage}_ns": 5 for stage in STAGES}, **given}.items()}

    requests = typical({"raw": columns(100, 1, 900), "int8": columns(140, 7, 300)})
    assert requests["raw"].stages["head"] == requests["int8"].stages["head"] == 120
    assert (requests["raw"].stages["encode"], requests["int8"].stages["encode"]) == (1, 7)
    assert [(request.n_bytes, request.answer_bytes) for request in requests.values()] == [(900, 80), (300, 80)]


def test_a_shift_is_time_on_the_network():
    stages = {**dict.fromkeys(STAGES, 10.0), "end_to_end": 90.0}
    assert shift(stages, 5.0) == {**stages, "network": 15.0, "end_to_end": 95.0}
    assert shift(stages, -30.0) == {**stages, "network": 0.0, "end_to_end": 80.0}


def test_the_figure_of_a_point_is_a_time_that_was_observed():
    assert p50(timed(3, 1, 2, 9)) == 2 * MS


def test_half_of_the_interval_of_a_median():
    # Of 100 ranks the 95 % interval of the median goes from the 41st to the 61st value.
    assert half_interval(range(100)) == 10.0
    assert half_interval([4, 8, 5]) == 2.0
    assert half_interval([5]) == 0.0
