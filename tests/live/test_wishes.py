"""What a device may be told: read from others, compared with what its user allows, and obeyed or refused."""

import contextlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutlayer.edge.wishes import SWITCHABLE, SWITCHABLE_CODECS, Consent, Wish, checked, knob, stated
from cutlayer.errors import ConfigError
from cutlayer.registry import DEFENSES
from cutlayer.wire.codecs.packed import codec_named

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from([*SWITCHABLE]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def wish(name, value):
    return Wish(name, checked(name, {knob(name): value}))


@pytest.mark.parametrize("name", SWITCHABLE)
def test_every_step_protects_in_numpy_and_is_stated_as_it_is_read(name):
    smashed, rng = np.random.default_rng(0).random((1, 2, 4, 4), np.float32), np.random.default_rng(1)
    steps = [wish(name, value) for value in SWITCHABLE[name]]
    for step in steps:
        protected = step.make().protect(smashed, rng)
        assert (protected.shape, protected.dtype) == (smashed.shape, smashed.dtype)
        assert stated(step.title) == step
        assert Wish.read(step.to_json()) == step
    strengths = [step.strength for step in steps]
    assert strengths == sorted(strengths)
    assert strengths[0] == 0
    assert not steps[0].make().protects or np.array_equal(steps[0].make().protect(smashed, rng), smashed)


def test_only_defenses_that_merely_protect_can_be_switched():
    for name in SWITCHABLE:
        assert DEFENSES.load(name).knob in wish(name, SWITCHABLE[name][-1]).options
    for codec in SWITCHABLE_CODECS:
        assert codec_named(codec).name == codec


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "is an object"),
        ({"defense": "nopeek", "options": {"weight": 1.0}}, "cannot be switched"),
        ({"defense": "gaussian-noise", "options": {"sigma": 11}}, "from 0 to 10; 11 was given"),
        ({"defense": "gaussian-noise", "options": {"sigma": float("nan")}}, "nan was given"),
        ({"defense": "gaussian-noise", "options": {"sigma": True}}, "by sigma alone"),
        ({"defense": "gaussian-noise", "options": {"sigma": 1, "noise_aware_epochs": 9}}, "by sigma alone"),
        ({"defense": "quantize", "options": {"bits": 2.5}}, "whole number"),
        ({"defense": "mine.py:Evil", "options": {}}, "cannot be switched"),
        ({"codec": "mine.py:Evil"}, "no codec"),
        ({"codec": ["raw"]}, "no codec"),
        ({"defense": "none", "path": "/etc/passwd"}, "is an object with defense"),
    ],
)
def test_what_nobody_can_switch_is_refused_with_a_sentence(value, words):
    with pytest.raises(ConfigError, match=words):
        Wish.read(value)


@given(JSON | st.fixed_dictionaries({"defense": JSON, "options": JSON, "codec": JSON}))
def test_any_value_is_a_wish_or_refused(value):
    with contextlib.suppress(ConfigError):
        assert Wish.read(value).make().protect(np.ones((1, 2), np.float32), np.random.default_rng(0)).shape == (1, 2)


@given(st.text(max_size=80) | st.integers() | st.none())
def test_any_text_is_a_stated_defense_or_none(text):
    assert stated(text) is None or stated(stated(text).title) == stated(text)


def test_a_floor_and_a_list_hold_against_the_server():
    free = Consent.of([], None)
    assert free.refusal(Wish()) is None
    floor = Consent.of([], "gaussian-noise=0.5")
    assert floor.names == ("gaussian-noise",)
    assert floor.refusal(wish("gaussian-noise", 0.5)) is None
    for weaker in (Wish(), wish("gaussian-noise", 0.4), wish("gaussian-noise", 0)):
        assert "does not go below gaussian-noise sigma=0.5" in floor.refusal(weaker)
    assert "allows gaussian-noise only; dropout" in floor.refusal(wish("dropout", 0.99))
    listed = Consent.of(["dropout"], None)
    assert listed.refusal(Wish()) is None
    assert listed.refusal(wish("gaussian-noise", 0)) is None
    assert "gaussian-noise was asked for" in listed.refusal(wish("gaussian-noise", 1))
    bits = Consent.of([], "quantize=4")
    assert bits.refusal(wish("quantize", 3)) is None
    assert "does not go below" in bits.refusal(wish("quantize", 5))
    assert "does not go below" in bits.refusal(wish("quantize", 0))


@pytest.mark.parametrize(
    ("allow", "at_least", "words"),
    [
        (["nopeek"], None, "not 'nopeek'"),
        ([], "gaussian-noise", "such as gaussian-noise=0.5"),
        ([], "gaussian-noise=x", "such as gaussian-noise=0.5"),
        ([], "gaussian-noise=99", "from 0 to 10"),
        (["dropout"], "gaussian-noise=0.5", "needs --allow gaussian-noise"),
    ],
)
def test_what_the_user_writes_is_checked(allow, at_least, words):
    with pytest.raises(ConfigError, match=words):
        Consent.of(allow, at_least)


def test_a_device_joins_without_torch_and_starlette():
    heavy = "torch", "starlette", "uvicorn", "websockets", "segno"
    code = f"import sys, cutlayer.edge.joined; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
