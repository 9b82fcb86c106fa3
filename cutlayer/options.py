"""What an option accepts: types, bounds of numbers and kinds of paths, declared once, beside the option.

    epochs: Epochs = 4                                   # a field of a plan, an attack or a defense
    tap: Annotated[Path | None, At("folder")] = None     # an argument of a command

`check` compares a value with its annotation; `checked` does so for all arguments of a command before it runs.
"""

from __future__ import annotations

import functools
import inspect
import math
import stat
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cutlayer.errors import ConfigError

_GREATEST = 1 << 63
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True)
class Within:
    """Bounds of a number, or of each number in a list.

    Attributes:
        least: The least value.
        most: The greatest value.
        above: Whether `least` itself is too little.
    """

    least: float
    most: float
    above: bool = False

    def holds(self, value: float) -> bool:
        """Whether the number lies within the bounds; NaN does not."""
        return (self.least < value if self.above else self.least <= value) and value <= self.most

    def __str__(self) -> str:
        return f"above {self.least:,} and at most {self.most:,}" if self.above else f"{self.least:,} to {self.most:,}"


class At:
    """What a path leads to, if there is anything.

    Args:
        kinds: ``file``, ``folder``, or both.
    """

    def __init__(self, *kinds: Literal["file", "folder"]) -> None:
        self.kinds = kinds

    def fault(self, path: Path) -> str | None:
        """What lies there in place of one of the kinds; None where all is well, or there is nothing."""
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, PermissionError):
            return None  # said by what reads or writes it
        except NotADirectoryError:
            return "a part of its path is a file, and no folder"
        except (OSError, ValueError) as error:
            return f"it cannot be looked up ({getattr(error, 'strerror', None) or error})"
        kind = "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else ""
        if kind in self.kinds:
            return None
        return f"it is {f'a {kind}' if kind else 'a pipe, a socket or a device'}"

    def __str__(self) -> str:
        return " or ".join(f"a {kind}" for kind in self.kinds)


MANY = 10_000_000
Whole = Annotated[int, Within(0, MANY)]
"""A number of something; 0 often stands for all, or for none."""
Count = Annotated[int, Within(1, MANY)]
Epochs = Annotated[int, Within(0, 100_000)]
Batch = Annotated[int, Within(1, 65_536)]
Size = Annotated[int, Within(1, 65_536)]
"""The size of a layer, a vector or a system of equations."""
Threads = Annotated[int, Within(1, 1024)]
Seed = Annotated[int, Within(0, 2**32 - 1)]
"""What all generators of random numbers take, numpy's oldest included."""
Seconds = Annotated[float, Within(0, 10_000_000, above=True)]
LearningRate = Annotated[float, Within(0, 1000, above=True)]
Weight = Annotated[float, Within(0, 1e9)]
"""The factor of a term of a loss, or a strength; 0 leaves it out."""
Share = Annotated[float, Within(0, 1)]
Classes = Annotated[int | None, Within(1, 1 << 20)]
Gigabytes = Annotated[float, Within(0.25, 100_000)]
"""Memory for the work on a file; the libraries that do it take about 0.1 of it."""
Mebibytes = Annotated[int, Within(1, 1 << 20)]
Weights = Annotated[Path | None, At("file", "folder")]
"""File of a model's weights, or the folder in which another program has stored the halves."""
OutFolder = Annotated[Path, At("folder")]
DataRoot = Annotated[Path | None, At("folder")]
WeightsRoot = Annotated[Path | None, At("folder")]


def check(where: str, annotation: Any, value: Any) -> None:
    """Refuse a value that contradicts its annotation. What is not annotated with a plain type is accepted.

    Args:
        where: The option or key, for the message.
        annotation: bool, int, float, str or Path, a tuple or list of these, perhaps None, perhaps with bounds.
        value: The value.

    Raises:
        ConfigError: The type is wrong, a number is not finite or out of its bounds, or a path leads to another thing.
    """
    kinds, bounds = _parts(annotation)
    if value is None and NoneType in kinds:
        return
    listed = [kind for kind in kinds if get_origin(kind) in (tuple, list)]
    if listed and isinstance(value, tuple | list):
        inner = Annotated[(get_args(listed[0])[0], *bounds)] if bounds else get_args(listed[0])[0]
        for entry in value:
            check(where, inner, entry)
        return
    if listed:
        raise ConfigError(f"{where} must be a list; {value!r:.80} was given.")
    if any(get_origin(kind) is dict for kind in kinds) and not isinstance(value, dict):
        raise ConfigError(f"{where} must be a table; {value!r:.80} was given.")
    plain = [kind for kind in kinds if kind is not NoneType]
    if plain and all(kind in _WORDS for kind in plain):
        _check_plain(where, plain, bounds, value)
    for bound in bounds:
        if isinstance(bound, Within) and _is_number(value) and not bound.holds(value):
            raise ConfigError(f"{where} must be {bound}; {value!r:.80} was given.")
        if isinstance(bound, At) and isinstance(value, Path) and (fault := bound.fault(value)):
            raise ConfigError(f"{where} must be {bound}; {str(value)!r:.300} was given, and {fault}.")


def _check_plain(where: str, kinds: list[Any], bounds: list[Any], value: Any) -> None:
    fits = any(
        isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))
        for kind in kinds
    )
    ranges = [bound for bound in bounds if isinstance(bound, Within)]
    # An integer without bounds has to fit where it goes.
    fits = fits and (bool(ranges) or not isinstance(value, int) or abs(value) < _GREATEST)
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        accepted = "".join(f", {bound}" for bound in ranges)
        raise ConfigError(f"{where} must be {_WORDS[kinds[0]]}{accepted}; {value!r:.80} was given.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parts(annotation: Any) -> tuple[list[Any], list[Any]]:
    """The kinds of value that an annotation accepts, and its bounds, from all its layers."""
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        kinds, bounds = _parts(base)
        return kinds, bounds + [entry for entry in metadata if isinstance(entry, Within | At)]
    if get_origin(annotation) in (Union, UnionType):
        parts = [_parts(kind) for kind in get_args(annotation)]
        return [kind for kinds, _ in parts for kind in kinds], [bound for _, bounds in parts for bound in bounds]
    return [annotation], []


def options(command: Callable[..., None]) -> Iterator[tuple[str, str, Any]]:
    """The parameters of a command: name, what a user calls it, and annotation."""
    hints = typing.get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        shown = next((entry.metavar for entry in _all_metadata(hints[name]) if getattr(entry, "metavar", None)), None)
        positional = parameter.kind is parameter.POSITIONAL_ONLY
        yield name, str(shown or name.upper()) if positional else _flag(name), hints[name]


def checked(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which checks its arguments before it runs.

    A parameter that is a dataclass, such as the security files, is checked field by field.
    """
    signature, accepted = inspect.signature(command), {name: rest for name, *rest in options(command)}

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            shown, annotation = accepted[name]
            if is_dataclass(value):
                hints = typing.get_type_hints(type(value), include_extras=True)
                for field in fields(value):
                    check(_flag(field.name), hints[field.name], getattr(value, field.name))
            else:
                check(shown, annotation, value)
        command(*args, **kwargs)

    return run


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _all_metadata(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        yield from _all_metadata(base)
        yield from metadata
