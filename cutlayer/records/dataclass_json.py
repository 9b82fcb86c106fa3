"""Frozen dataclasses to and from plain JSON values: one description of a record for those who write and read it.

A field with a default may be absent from the JSON, and is left out of it where it has its default. JSON's null is None
for a field that may be None, and NaN for any other float. A float that is not finite is written as null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_KINDS: dict[Any, tuple[type, ...]] = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}
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
    return _loader(kind)(value)  # type: ignore[arg-type, no-any-return]


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


@cache
def _loader(kind: Any) -> Callable[[Any], Any]:
    """What makes a value of this type of a JSON value; made once for each type, for a folder has many records."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return _same
    if is_dataclass(kind):
        return _record_loader(kind)
    if origin in (Union, UnionType):
        return _union_loader(arguments)
    if origin is tuple:
        entry = _loader(arguments[0])
        return lambda value: tuple(map(entry, _of(list, value)))
    if origin is dict:
        key, entry = map(_loader, arguments)
        return lambda value: {key(name): entry(content) for name, content in _of(dict, value).items()}
    if origin is Literal:
        return partial(_one_of, arguments)
    return partial(_scalar, kind, _KINDS[kind])


def _same(value: Any) -> Any:
    return value


def _one_of(choices: tuple[Any, ...], value: Any) -> Any:
    if value not in choices:
        raise ValueError(f"{value!r:.80} where one of {choices} is needed")
    return value


def _scalar(kind: type, accepted: tuple[type, ...], value: Any) -> Any:
    if type(value) is kind and kind is not int:
        return value
    if kind is float and value is None:
        return math.nan
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r:.80} where {kind.__name__} is needed")
    if isinstance(value, int) and abs(value) > _GREATEST:
        raise ValueError(f"a number of {len(str(value))} digits")
    return value


def _record_loader(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    names, inline = {f.name for f in fields(kind)}, [f.name for f in fields(kind) if f.metadata == INLINE]
    loaders = {f.name: _loader(hints[f.name]) for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}

    def record(value: Any) -> Any:
        content = _of(dict, value)
        for name in inline:
            content = {**content, name: {key: entry for key, entry in content.items() if key not in names}}
        arguments = {
            name: loader(content[name]) for name, loader in loaders.items() if name in content or name in needed
        }
        return kind(**arguments)

    return record


def _union_loader(kinds: tuple[Any, ...]) -> Callable[[Any], Any]:
    """None where that is allowed, or a value of the first of the kinds that takes it."""
    *first, last = (_loader(kind) for kind in kinds if kind is not NoneType)

    def union(value: Any) -> Any:
        if value is None and NoneType in kinds:
            return None
        for loader in first:
            with suppress(TypeError):
                return loader(value)
        return last(value)

    return union


def _of(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.80} where {kind.__name__} is needed")
    return value
