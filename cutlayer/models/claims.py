"""What `split.json` claims, checked in one place and within bounds, before anything is allocated, opened or imported.

Each function returns the value in the type of a `Manifest`, or raises ValueError with the reason as its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite, prod
from typing import Any, TypeVar

from cutlayer.foreign import shown
from cutlayer.spec import TensorSpec

T = TypeVar("T")

MOST_ELEMENTS = 1 << 28
"""Elements of one sample of a tensor: 1 GiB in float32."""

MOST_AXES = 16
MOST_ENTRIES = 1024
"""Tensors, files, options or numbers in one list or table."""

MOST_LETTERS = 4096
"""Letters of a name or of the path of a data set."""

MOST_DEPTH = 16
"""Defenses one after the other, and lists in lists among their options."""

DTYPES = (
    "float32", "float16", "float64", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
)  # fmt: skip
"""Types of tensors, by their names in numpy."""

OPEN = -1
"""Length of an axis of an output that depends on the data."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def table(value: Any, what: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """A table with text as keys, and these among them."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {_kind(value)}, not a table")
    if len(value) > MOST_ENTRIES:
        raise ValueError(f"{what} has {len(value):,} entries, and {MOST_ENTRIES:,} are the most")
    for key in keys:
        if key not in value:
            raise ValueError(f"{what} has no {key}")
    return {text(key, f"a key of {what}"): content for key, content in value.items()}


def text(value: Any, what: str) -> str:
    """A text that UTF-8 can hold."""
    if not isinstance(value, str):
        raise ValueError(f"{what} is {_kind(value)}, not a text")
    if len(value) > MOST_LETTERS:
        raise ValueError(f"{what} has {len(value):,} letters, and {MOST_LETTERS:,} are the most")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{what} is '{shown(value, 80)}', which has letters that UTF-8 cannot hold") from None
    return value


def whole(value: Any, what: str, low: int, high: int) -> int:
    """A whole number within bounds; a bool is none."""
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{what} is {shown(value, 40)}, not a whole number from {low:,} to {high:,}")
    return value


def number(value: Any, what: str) -> float:
    """A finite number; a bool is none."""
    if type(value) not in (int, float) or abs(value) > 1e300 or not isfinite(value):
        raise ValueError(f"{what} is {shown(value, 40)}, not a finite number")
    return value  # type: ignore[no-any-return]


def numbers(value: Any, what: str) -> tuple[float, ...]:
    """A list of finite numbers."""
    if not isinstance(value, list) or len(value) > MOST_ENTRIES:
        raise ValueError(f"{what} is {_kind(value)}, not a list of at most {MOST_ENTRIES:,} numbers")
    return tuple(number(each, f"a number of {what}") for each in value)


def spec(value: Any, what: str, *, open: bool = False) -> TensorSpec:
    """One sample of a tensor; with `open`, a length may be `OPEN`."""
    claim = table(value, what, ("shape",))
    if unknown := claim.keys() - {"shape", "dtype", "low", "high"}:
        raise ValueError(f"{what} has an unknown key '{shown(min(unknown), 40)}'")
    shape = claim["shape"]
    if not isinstance(shape, list) or len(shape) > MOST_AXES:
        raise ValueError(f"the shape of {what} is {_kind(shape)}, not a list of at most {MOST_AXES} lengths")
    lengths = tuple(
        OPEN if open and length == OPEN else whole(length, f"a length of {what}", 1, MOST_ELEMENTS) for length in shape
    )
    if prod(abs(length) for length in lengths) > MOST_ELEMENTS:
        raise ValueError(f"{what} has {prod(lengths):,} elements, and {MOST_ELEMENTS:,} are the most")
    dtype = claim.get("dtype", "float32")
    if dtype not in DTYPES:
        raise ValueError(f"the type of {what} is '{shown(dtype, 40)}', which is none of {', '.join(DTYPES)}")
    low, high = (
        None if claim.get(key) is None else number(claim[key], f"the bound {key} of {what}") for key in ("low", "high")
    )
    if low is not None and high is not None and low > high:
        raise ValueError(f"{what} lies between {low:g} and {high:g}, which are in the wrong order")
    return TensorSpec(lengths, dtype, low, high)


def specs(value: Any, what: str, *, open: bool = False) -> dict[str, TensorSpec]:
    """Tensors by name."""
    return {name: spec(each, f"{what} '{shown(name, 40)}'", open=open) for name, each in table(value, what).items()}


def sequence(value: Any, input: Any, smashed: Any) -> bool:
    """Whether the first axis of both tensors is that of a sequence, which both have in the same length."""
    if not isinstance(value, bool):
        raise ValueError(f"sequence is {_kind(value)}, not true or false")
    taken, sent = (spec(each, what) for each, what in ((input, "input"), (smashed, "smashed")))
    if value and (not taken.is_tokens or taken.low != 0 or taken.high is None or sent.shape[:1] != taken.shape):
        raise ValueError("sequence is true, which needs an input of tokens, and smashed data of the same length")
    return value


def files(value: Any) -> dict[str, str]:
    """The SHA-256 of each file, by a name that stands for a file in the folder and nowhere else."""
    digests = table(value, "files")
    for name in digests:
        if name in ("", ".", "..") or not name.isprintable() or any(letter in name for letter in "/\\:\0"):
            raise ValueError(f"files names '{shown(name, 80)}', which is not the name of a file in the folder")
    return _digests(digests, "files")


def sources(value: Any) -> dict[str, str]:
    """The SHA-256 of each source file of the user's own, by the name under which a registry finds it."""
    return _digests(table(value, "sources"), "sources")


def _digests(value: Mapping[str, Any], what: str) -> dict[str, str]:
    for name, digest in value.items():
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ValueError(f"{what} gives '{shown(name, 80)}' a hash that is no SHA-256")
    return dict(value)


def defense(value: Any, depth: int = 0) -> dict[str, Any]:
    """The defense and its options: numbers, texts, lists of these, and the defense that follows.

    Names, types and ranges of the options are the registry's to check, when it builds the defense.
    """
    options = table(value, "defense", ("name",))
    text(options["name"], "the name of the defense")
    if depth > MOST_DEPTH:
        raise ValueError(f"defense has more than {MOST_DEPTH} defenses one after the other")
    for name, option in options.items():
        if name == "then" and option is not None:
            defense(option, depth + 1)
        else:
            _option(option, f"the option {shown(name, 40)} of the defense", depth)
    return options


def _option(value: Any, what: str, depth: int) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        text(value, what)
    elif isinstance(value, list) and len(value) <= MOST_ENTRIES and depth <= MOST_DEPTH:
        for each in value:
            _option(each, what, depth + 1)
    elif isinstance(value, dict) and depth <= MOST_DEPTH:
        for name, each in table(value, what).items():
            _option(each, f"{what}, {shown(name, 40)}", depth + 1)
    else:
        number(value, what)


def names_of_state(value: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, str]:
    """Input name to output name, each one that there is."""
    pairs = table(value, "state")
    for name, output in pairs.items():
        if name not in inputs or not isinstance(output, str) or output not in outputs:
            raise ValueError(f"state joins '{shown(name, 40)}' and '{shown(output, 40)}', which are not both there")
    return pairs


def optional(check: Callable[[Any, str], T], value: Any, what: str) -> T | None:
    """None, or what `check` makes of the value."""
    return None if value is None else check(value, what)


def _kind(value: Any) -> str:
    return {"NoneType": "nothing", "dict": "a table", "list": "a list", "str": "a text", "bool": "true or false"}.get(
        type(value).__name__, "a number"
    )
