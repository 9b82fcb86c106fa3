"""Frozen dataclasses to and from plain JSON values: one description of a record for those who write and read it.

A field with a default may be absent from the JSON, and is left out of it where it has its default. JSON's null is None
for a field that may be None, and NaN for any other float. A float that is not finite is written as null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_KINDS: dict[Any, tuple[type, ...]] = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}
_hints = cache(get_type_hints)
_GREATEST = (1 << 63) - 1
"""The greatest integer that other programs, and SQLite, can read."""

INLINE = {"inline": True}
"""Metadata of a field whose entries stand beside the record's other keys in the JSON, not below a key of their own."""


def load(kind: type[T], value: Any) -> T:
    """The record of this class that a JSON value describes; keys without a field are ignored.

    Raises:
        KeyError: A key is missing.
        TypeError, ValueError: A value has another type than its field.
    """
    return _load(kind, value)  # type: ignore[no-any-return]


def dump(value: Any) -> Any:
    """The JSON value of a record."""
    if is_dataclass(value):
        entries: dict[str, Any] = {}
        for f in fields(value):
            entry = getattr(value, f.name)
            if entry != f.default:
                entries |= dump(entry) if f.metadata == INLINE else {f.name: dump(entry)}
        return entries
    if isinstance(value, Mapping):
        return {key: dump(entry) for key, entry in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return [dump(entry) for entry in value] if isinstance(value, tuple | list) else value


def _load(kind: Any, value: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _load_record(kind, _of(dict, value))
    if origin in (Union, UnionType):
        return _load_any(arguments, value)
    if origin is tuple:
        return tuple(_load(arguments[0], entry) for entry in _of(list, value))
    if origin is dict:
        return {_load(arguments[0], key): _load(arguments[1], entry) for key, entry in _of(dict, value).items()}
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{value!r:.80} where one of {arguments} is needed")
        return value
    if kind is float and value is None:
        return math.nan
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r:.80} where {kind.__name__} is needed")
    if isinstance(value, int) and abs(value) > _GREATEST:
        raise ValueError(f"a number of {len(str(value))} digits")
    return value


def _load_record(kind: Any, value: dict[str, Any]) -> Any:
    hints, names = _hints(kind), {f.name for f in fields(kind)}
    arguments = {}
    for f in fields(kind):
        if f.metadata == INLINE:
            beside = {key: entry for key, entry in value.items() if key not in names}
            arguments[f.name] = _load(hints[f.name], beside)
        elif f.name in value or (f.default is MISSING and f.default_factory is MISSING):
            arguments[f.name] = _load(hints[f.name], value[f.name])
    return kind(**arguments)


def _load_any(kinds: tuple[Any, ...], value: Any) -> Any:
    """The value as None where that is allowed, or as the first of the kinds that takes it."""
    if value is None and NoneType in kinds:
        return None
    *first, last = (kind for kind in kinds if kind is not NoneType)
    for kind in first:
        try:
            return _load(kind, value)
        except TypeError:
            continue
    return _load(last, value)


def _of(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.80} where {kind.__name__} is needed")
    return value
