"""Foreign text: what steers a terminal is escaped, what people write stays readable."""

import doctest
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutlayer import foreign
from cutlayer.foreign import shown, shown_lines

TEXT = st.text(st.characters(categories=None)) | st.text(
    st.sampled_from("a\x1b[2J\n\r\t\0\x9b\u202e\u200f\ufeff\udc80é日")
)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("a\x1b[31mred\x1b[0m", r"a\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("two\r\nlines\tand\0", r"two\r\nlines\tand\x00"),
        ("\x9b2J \x85 \x7f", r"\x9b2J \x85 \x7f"),
        ("\u202egnp.exe\u202c", r"\u202egnp.exe\u202c"),
        ("\u200f\u061c\u2066\u2069", r"\u200f\u061c\u2066\u2069"),
        ("a\u200bb\u200c\u200d\u2060\ufeff\u00ad", r"a\u200bb\u200c\u200d\u2060\ufeff\xad"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\u3164\u2800\u034f\U000e0041\U000e0101", r"\u3164\u2800\u034f\U000e0041\U000e0101"),
        ("\ue000\uffff", r"\ue000\uffff"),
        (b"caf\xe9.png".decode("utf-8", "surrogateescape"), r"caf\udce9.png"),
        (ValueError("no\nsuch"), r"no\nsuch"),
    ],
)
def test_what_steers_or_hides_is_escaped(text, right):
    assert shown(text) == right


@pytest.mark.parametrize(
    "text", ["", "é", "日本語 ファイル", "Привет", "שלום", "naïve – “quoted” 12 µs", "❤️", r"C:\new", "-0.5"]
)
def test_what_people_write_stays(text):
    assert shown(text) == text


@given(TEXT)
def test_one_visible_line_that_any_encoder_takes(text):
    line = shown(text, most=None)
    assert not {unicodedata.category(letter) for letter in line} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert line.splitlines() == ([line] if line else [])
    line.encode()


@given(TEXT, st.integers(0, 40))
def test_it_is_bounded_and_stays_when_shown_again(text, most):
    line = shown(text, most)
    assert len(line) <= most
    assert shown(line, most) == line
    assert line == shown(text, most=None) or line.endswith("..."[:most])


def test_what_is_behind_the_limit_is_not_looked_at():
    class Counted(str):
        def __getitem__(self, index):
            assert index.stop <= 11
            return str.__getitem__(self, index)

        def __str__(self):
            return self

    assert shown(Counted("\x1b" * 1000), most=10) == r"\x1b..."


@given(TEXT)
def test_lines_stay_lines(text):
    assert shown_lines(text) == "\n".join(shown(line, most=None) for line in text.split("\n"))
    assert shown_lines(text).count("\n") == text.count("\n")


def test_the_examples_of_its_docstring_are_right():
    assert doctest.testmod(foreign).failed == 0
