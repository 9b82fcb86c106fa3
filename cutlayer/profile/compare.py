"""The figures of a profile, as `cutlayer profile` wrote it, and what makes two profiles hard to compare."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cutlayer.errors import ConfigError

PROFILE, SCHEMA = "profile.json", 1

_NO_METRICS = ("cut", "shape", "measured_as", "n")


class Row(NamedTuple):
    """What a figure is of: `network` and `codec` are empty where it depends on none."""

    metric: str
    cut: str
    network: str
    codec: str


class Figure(NamedTuple):
    """A number of a profile.

    Attributes:
        value: In `unit`.
        unit: ``ns``, ``bytes``, or nothing.
        source: ``measured``, ``model``, or nothing where there is no such choice.
        n: Samples behind it, where it is of samples.
    """

    value: float
    unit: str
    source: str
    n: int | None = None


Figures = dict[Row, Figure]


def load(path: Path) -> dict[str, Any]:
    """The profile in a file, or in the `profile.json` of a folder.

    Raises:
        ConfigError: There is none, or it is of another format.
    """
    file = path / PROFILE if path.is_dir() else path
    try:
        profile = json.loads(file.read_text())
        if profile["schema"] != SCHEMA:
            raise ConfigError(f"{file} is of format {profile['schema']!r:.20}, not {SCHEMA}; profile again.")
        _check(profile)
    except FileNotFoundError:
        raise ConfigError(f"{file} is not there; `cutlayer profile MODEL --out {path}` writes it.") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {str(error.strerror).lower()}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ConfigError(f"{file} is no profile, or is damaged; profile again.") from None
    return profile  # type: ignore[no-any-return]


def invalid(profile: Mapping[str, Any], which: str) -> str | None:
    """Why the times of a profile mean nothing, in a sentence that calls it that; None where it is valid."""
    if profile["verdict"] == "VALID":
        return None
    first, *others = [str(reason).rstrip(".") for reason in profile["reasons"]] or ["no reason given"]
    more = f", and {len(others)} more" if others else ""
    return f"The {which} profile says of itself that it is {profile['verdict']}: {first}{more}."


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Another model, other settings, another machine, in a sentence each."""
    names = before["model"], after["model"]
    found = [f"They are of {names[0]} and of {names[1]}."] if names[0] != names[1] else []
    for part, keys in (("settings", None), ("machine", ("processor", "cores", "affinity", "onnxruntime"))):
        one, other = before[part], after[part]
        for key in keys or sorted({*one, *other} - {"seed"}):
            if one.get(key) != other.get(key):
                found.append(f"They differ in {part}.{key}: {one.get(key)} and {other.get(key)}.")
    return found


def figures(profile: Mapping[str, Any]) -> Figures:
    """Every number of every cut. Percentiles with too few samples are no numbers, and are left out."""
    found: Figures = {}
    for cut in profile["cuts"]:
        name = str(cut["cut"])
        of_cut = {key: value for key, value in cut.items() if key not in ("codecs", "networks")}
        places = [("", "", of_cut)]
        places += [("", codec, told) for codec, told in cut.get("codecs", {}).items()]
        for network, codecs in cut.get("networks", {}).items():
            places += [(network, codec, told) for codec, told in codecs.items()]
        for network, codec, told in places:
            for metric, figure in _numbers(told, "", "", str(told.get("source", ""))):
                found[Row(metric, name, network, codec)] = figure
    return found


def _check(profile: Mapping[str, Any]) -> None:
    """Raise ValueError, or something like it, where this is no profile, or a damaged one."""
    kinds = {"model": str, "verdict": str, "reasons": list, "settings": dict, "machine": dict}
    if not all(isinstance(profile[part], kind) for part, kind in kinds.items()) or not figures(profile):
        raise ValueError


def _numbers(told: Mapping[str, Any], prefix: str, unit: str, source: str) -> Iterator[tuple[str, Figure]]:
    """The numbers of a part of a profile, by their path in it. That of `end_to_end` is not named."""
    for key, value in told.items():
        if key in _NO_METRICS:
            continue
        unit_here = "ns" if key.endswith("_ns") else "bytes" if key.endswith("bytes") else unit
        name = key.removesuffix("_ns")
        path = prefix if key == "end_to_end_ns" else f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping):
            yield from _numbers(value, path, unit_here, source)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            # Not a number is neither above nor below any limit.
            if not math.isfinite(value):
                raise ValueError
            yield path, Figure(float(value), unit_here, source, told.get("n"))
