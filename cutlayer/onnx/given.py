"""What a user states about an ONNX file: sizes, recurrent state, constants, and what the server may see."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from cutlayer.errors import ConfigError

MOST_NUMBERS = 1 << 28
"""Numbers in one input, at most."""

_NUMBERS = {"--mean": "0.485,0.456,0.406", "--std": "0.229,0.224,0.225", "--constant": "sr=16000"}


@dataclass(frozen=True)
class Given:
    """What is known of a file beyond the file itself.

    Attributes:
        shape: Shape of the image, or of the first input, with or without the batch; None where the file says it.
        shapes: Shapes of further inputs by name.
        state: Inputs that take what an output of the request before gave: input name to output name.
        constants: Inputs that always have this value, by name.
        public: Inputs that the server may see as they are, so that both halves may take them.
        mean: Mean to subtract from images in [0, 1] first: one number, or one for each channel.
        std: Standard deviation to divide them by then, likewise.
    """

    shape: tuple[int, ...] | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)
    public: Sequence[str] = ()
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)


NOTHING = Given()


def given(
    input: Sequence[str] = (),
    state: Sequence[str] = (),
    constant: Sequence[str] = (),
    public: Sequence[str] = (),
    mean: str | None = None,
    std: str | None = None,
) -> Given:
    """Read the options of a command; see `Given`. Each text may hold several, separated by commas.

    Args:
        input: ``3x224x224``, or ``name=1x576`` for an input by name.
        state: ``input=output``.
        constant: ``input=number``.
        public: Names of inputs.
        mean: Numbers separated by commas.
        std: Numbers separated by commas.

    Raises:
        ConfigError: A text has another form.
    """
    shapes = {name: _shape(text) for name, text in map(_pair, _each(input))}
    pairs, constants = (dict(map(_pair, _each(texts))) for texts in (state, constant))
    for option, example, named in (("--state", "h=hn", pairs), ("--constant", "sr=16000", constants)):
        if "" in named or "" in named.values():
            raise ConfigError(f"{option} takes NAME=VALUE, such as {example}; one of its texts has another form.")
    return Given(
        shapes.pop("", None), shapes, pairs, {name: _number("--constant", text) for name, text in constants.items()},
        tuple(_each(public)), _numbers("--mean", mean or "0"), _numbers("--std", std or "1"),
    )  # fmt: skip


def _each(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _pair(text: str) -> tuple[str, str]:
    """The name before the last equals sign, which may be none, and the text behind it."""
    name, _, value = text.rpartition("=")
    return name, value


def _shape(text: str) -> tuple[int, ...]:
    sizes = [int(size) for size in text.split("x")] if re.fullmatch(r"\d{1,9}(x\d{1,9})*", text) else []
    if not sizes or not 0 < prod(sizes) <= MOST_NUMBERS:
        raise ConfigError(f"A shape has the form CxHxW, such as 3x32x32, or name=1x576; {text!r} was given.")
    return tuple(sizes)


def _numbers(option: str, text: str) -> list[float]:
    return [_number(option, part) for part in text.split(",")]


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{option} takes numbers such as {_NUMBERS[option]}; {text!r} was given.") from None
