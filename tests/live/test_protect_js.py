"""Defenses, codecs and pixels in JavaScript beside those in Python: the same numbers, bit by bit."""

import math

import numpy as np
import pytest
from PIL import Image

from cutlayer.data.images import read_image
from cutlayer.edge.wishes import IN_JAVASCRIPT, SWITCHABLE, SWITCHABLE_CODECS, knob
from cutlayer.registry import DEFENSES
from cutlayer.wire.codecs.packed import codec_named
from tests.live.javascript import javascript

RNG = np.random.default_rng(0)
ARRAYS = {
    "normal": RNG.normal(size=3000).astype(np.float32),
    "rectified": np.maximum(RNG.normal(size=4097), 0).astype(np.float32),
    "ties": RNG.integers(-3, 4, 999).astype(np.float32),
    "equal": np.full(257, 0.3, np.float32),
    "zeros": np.zeros(64, np.float32),
    "tiny": (RNG.normal(size=500) * 1e-41).astype(np.float32),
    "far": (RNG.normal(size=500) * 10.0 ** RNG.integers(-9, 7, 500)).astype(np.float32),
    "one": np.array([-1.5], np.float32),
}


CODECS = ("raw", "fp16", "int8", "int4", "top-k")


def test_the_codecs_give_the_bytes_of_python():
    made = javascript(
        ["protect"],
        "return given[0].map((codec) => given[1].map((a) => protect.encode(floats(a), codec)))",
        [CODECS, [*ARRAYS.values()]],
    )
    for codec, of_codec in zip(CODECS, made, strict=True):
        for (name, array), encoded in zip(ARRAYS.items(), of_codec, strict=True):
            expected = codec_named(codec).encode(array[None])
            assert encoded["data"] == bytes(expected.data), (codec, name)
            assert encoded["parameters"] == dict(expected.parameters)
            assert encoded["datatype"] == expected.datatype


def test_the_defenses_without_a_draw_give_the_numbers_of_python():
    settings = [("top-k", {"sparsity": sparsity}) for sparsity in (0.0, 0.57, 0.995)]
    settings += [("quantize", {"bits": bits}) for bits in (0, 1, 2, 5, 8)]
    made = javascript(
        ["protect"],
        "return given[0].map(([defense, options]) => given[1].map((a) =>"
        "  new Uint8Array(protect.protect(floats(a), [{ defense, options }]).buffer)))",
        [settings, [*ARRAYS.values()]],
    )
    for (defense, options), of_defense in zip(settings, made, strict=True):
        for (name, array), bytes_ in zip(ARRAYS.items(), of_defense, strict=True):
            expected = DEFENSES.make(defense, **options).protect(array[None], np.random.default_rng(0))
            np.testing.assert_array_equal(np.frombuffer(bytes_, np.float32), expected[0], f"{defense} {options} {name}")


@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_the_rows_of_a_sentence_are_clipped_as_in_python_and_get_its_noise(mechanism):
    """Each row by itself, or the whole sample; with hardly any noise the clipped numbers are left."""
    rows = (RNG.normal(size=(7, 96)) * RNG.uniform(0.01, 3, (7, 1))).astype(np.float32)
    rows[3] = 0
    for per_token in (True, False):
        for clip in (np.float32(np.abs(rows[0]).sum()), 2.5):
            options = {"noise": 1e-9, "mechanism": mechanism, "clip": float(clip)}
            defense = DEFENSES.make("local-dp", **options)
            defense.deploy({"per_token": np.array(per_token)}, lambda: None)
            given = {"defense": "local-dp", "options": options | defense.fixed}
            made = drawn_of(given, rows, width=96)[0].reshape(rows.shape)
            expected = defense.protect(rows[None], np.random.default_rng(0))[0]
            np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5 * np.abs(rows).max())
    noisy = {"noise": 0.5, "mechanism": mechanism, "clip": 2.0, "per_token": True, "epochs": 4}
    made = drawn_of({"defense": "local-dp", "options": noisy}, np.zeros((999, 96), np.float32), width=96)
    scale = 0.5 * 2 * 2.0 * (1 if mechanism == "gaussian" else math.sqrt(2))
    fourth = 3 if mechanism == "gaussian" else 6
    assert abs((made**2).mean() / scale**2 - 1) < 5 * math.sqrt((fourth - 1) / made.size)


def drawn(defense, options, values, releases=1):
    return drawn_of({"defense": defense, "options": options}, values, releases)


def drawn_of(defense, values, releases=1, width=1):
    bytes_ = javascript(
        ["protect"],
        "return Array.from({ length: given[2] },"
        " () => new Uint8Array(protect.protect(floats(given[0]), [given[1]], given[3]).buffer))",
        [values, defense, releases, width],
    )
    return np.stack([np.frombuffer(one, np.float32) for one in bytes_])


@pytest.mark.parametrize(
    ("defense", "options", "deviation", "fourth"),
    [("gaussian-noise", {"sigma": 0.5}, 0.5, 3.0), ("laplace-noise", {"scale": 0.5}, 0.5 * math.sqrt(2), 6.0)],
)
def test_noise_has_the_law_that_its_name_says(defense, options, deviation, fourth):
    """Mean, deviation, fourth moment and independence of 400,001 draws, each within 5 of its standard errors."""
    values = np.full(400_001, 2, np.float32)
    noise = (drawn(defense, options, values)[0].astype(np.float64) - 2) / deviation
    n = len(noise)
    assert abs(noise.mean()) < 5 / math.sqrt(n)
    assert abs((noise**2).mean() - 1) < 5 * math.sqrt((fourth - 1) / n)
    assert abs((noise**4).mean() - fourth) < 5 * math.sqrt((noise**8).mean() / n)
    # Both numbers of a pair come from one radius and one angle.
    for lag in (1, 2, 3):
        assert abs((noise[:-lag] * noise[lag:]).mean()) < 5 / math.sqrt(n - lag)
    assert abs((noise[:-1:2] ** 2 * noise[1::2] ** 2).mean() - 1) < 5 * fourth / math.sqrt(n / 2)
    assert len(np.unique(noise)) / n > 0.95


def test_two_releases_have_noise_of_their_own():
    first, second = drawn("gaussian-noise", {"sigma": 1.0}, np.zeros(10_000, np.float32), releases=2)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_stochastic_rounding_keeps_the_mean():
    values = np.array([0, 0.3, 1], np.float32)
    rounded = drawn("quantize", {"bits": 1, "rounding": "stochastic"}, np.tile(values, 5000))[0].reshape(-1, 3)
    assert set(rounded[:, 1]) == {0, 1}
    assert abs(rounded[:, 1].mean() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 5000)


def test_what_protects_is_done_in_order():
    both = [{"defense": "top-k", "options": {"sparsity": 0.5}}, {"defense": "quantize", "options": {"bits": 2}}]
    array = ARRAYS["normal"]
    bytes_ = javascript(
        ["protect"], "return new Uint8Array(protect.protect(floats(given[0]), given[1]).buffer)", [array, both]
    )
    chained = DEFENSES.make("top-k", sparsity=0.5).then(DEFENSES.make("quantize", bits=2))
    np.testing.assert_array_equal(
        np.frombuffer(bytes_, np.float32), chained.protect(array[None], np.random.default_rng(0))[0]
    )


def test_undefined_numbers_are_not_sent():
    thrown = javascript(
        ["protect"],
        "return [NaN, Infinity].map((x) => { try { protect.encode(Float32Array.of(1, x), 'raw') }"
        " catch (error) { return error.message } })",
    )
    assert thrown == ["The head gave infinite or undefined numbers."] * 2


def test_what_a_browser_does_not_compute_is_refused_with_a_sentence():
    cases = [
        ("none", {}, "raw", None),
        ("gaussian-noise", {"sigma": 10}, "int4", None),
        ("gaussian-noise", {"sigma": 11}, "raw", "sigma of gaussian-noise must be a number from 0 to 10"),
        ("gaussian-noise", {"sigma": "1"}, "raw", "sigma of gaussian-noise"),
        ("gaussian-noise", {}, "raw", "sigma of gaussian-noise"),
        ("quantize", {"bits": 2.5}, "raw", "a whole number from 0 to 8"),
        ("dropout", {"rate": 0.5}, "raw", "cannot compute dropout"),
        ("toString", {}, "raw", "cannot compute toString"),
        ("none", {}, "int8+zstd", "cannot compute the codec int8+zstd"),
    ]
    said = javascript(
        ["protect"],
        "return given.map(([defense, options, codec]) => protect.refusal({ defense, options, codec }))",
        [case[:3] for case in cases],
    )
    for (*wish, words), sentence in zip(cases, said, strict=True):
        assert sentence is None if words is None else words in sentence, wish


def test_the_knobs_are_those_that_the_room_offers_to_phones():
    knobs = javascript(
        ["protect"],
        "return Object.entries(protect.DEFENSES).map(([name, { knob: of, most }]) => [name, of, most])",
    )
    assert knobs == [[name, knob(name), max(SWITCHABLE[name])] for name in IN_JAVASCRIPT]
    assert set(javascript(["protect"], "return Object.keys(protect.CODECS)")) == set(SWITCHABLE_CODECS)


SIZES = [
    ((640, 480), (64, 64)), ((480, 640), (28, 28)), ((64, 64), (64, 64)), ((97, 61), (32, 32)), ((31, 50), (64, 64)),
    ((7, 5), (28, 28)), ((1, 1), (8, 8)), ((100, 64), (64, 64)), ((300, 200), (20, 50)), ((333, 333), (32, 32)),
]  # fmt: skip


def pixels(width, height):
    """A picture of noise in which every second row is darker."""
    array = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    array[::2] //= 2
    return array


def fitted(cases):
    """What the page makes of opaque pictures: the bytes, and the numbers."""
    given = [
        [np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]), rgb.shape[1], rgb.shape[0], shape]
        for rgb, shape in cases
    ]
    return javascript(
        ["picture"],
        "return given.map(([data, width, height, shape]) => {"
        "  const pixels = picture.fitted({ data, width, height }, shape);"
        "  return [pixels, new Uint8Array(picture.floats(pixels).buffer)] })",
        given,
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_becomes_the_pixels_that_the_python_device_makes_of_it(tmp_path, channels):
    cases = [(pixels(*size), (channels, *wanted)) for size, wanted in SIZES]
    for (rgb, shape), (bytes_, numbers) in zip(cases, fitted(cases), strict=True):
        Image.fromarray(rgb).save(tmp_path / "picture.png")
        expected = read_image(tmp_path / "picture.png", shape)
        np.testing.assert_array_equal(np.frombuffer(bytes_, np.uint8).reshape(shape), np.rint(expected * 255))
        np.testing.assert_array_equal(np.frombuffer(numbers, np.float32).reshape(shape), expected)


def test_a_very_tall_picture_differs_by_one_level_at_most(tmp_path):
    """Pillow 13 scales its columns first, and rounds in between."""
    rgb, shape = pixels(31, 200), (3, 64, 64)
    Image.fromarray(rgb).save(tmp_path / "picture.png")
    [[bytes_, _]] = fitted([(rgb, shape)])
    levels = np.rint(read_image(tmp_path / "picture.png", shape) * 255)
    assert np.abs(np.frombuffer(bytes_, np.uint8).reshape(shape) - levels).max() <= 1


def test_a_transparent_picture_is_laid_on_white(tmp_path):
    rgba = np.random.default_rng(1).integers(0, 256, (40, 50, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "picture.png")
    bytes_ = javascript(["picture"], "return picture.fitted({ data: given, width: 50, height: 40 }, [3, 32, 32])", rgba)
    expected = np.rint(read_image(tmp_path / "picture.png", (3, 32, 32)) * 255)
    np.testing.assert_array_equal(np.frombuffer(bytes_, np.uint8).reshape(3, 32, 32), expected)
