"""The figures of a profile by name, and what makes two profiles hard to compare."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cutlayer.errors import ConfigError
from cutlayer.records.dataclass_json import dump
from cutlayer.records.profile import Profile
from cutlayer.records.profile_files import read

_NO_METRICS = ("cut", "shape", "measured_as", "n", "codecs", "networks")


class Row(NamedTuple):
    """What a figure describes; `network` and `codec` are empty where it depends on none."""

    metric: str
    cut: str
    network: str
    codec: str


class Figure(NamedTuple):
    """A number of a profile.

    Attributes:
        value: The number, in `unit`.
        unit: ``ns``, ``bytes``, or empty.
        source: ``measured``, ``model``, or empty where the record names none.
        n: Number of samples behind it; None where it is no statistic of samples.
    """

    value: float
    unit: str
    source: str
    n: int | None = None


Figures = dict[Row, Figure]


def load(path: Path) -> Profile:
    """The profile in a file, or in the `profile.json` of a folder.

    Raises:
        ConfigError: There is none, it has another format, or a figure is not a finite number.
    """
    profile = read(path)
    try:
        figures(profile)
    except (ValueError, OverflowError):
        raise ConfigError(f"{path} holds a figure that is not a finite number; run `cutlayer profile` again.") from None
    return profile


def invalid(profile: Profile, which: str) -> str | None:
    """Why the times of a profile mean nothing, in a sentence that names it; None where it is valid."""
    if profile.verdict == "VALID":
        return None
    first, *others = [reason.rstrip(".") for reason in profile.reasons] or ["no reason given"]
    more = f", and {len(others)} more" if others else ""
    return f"The {which} profile is {profile.verdict}: {first}{more}."


def differences(before: Profile, after: Profile) -> list[str]:
    """Another model, other settings, another machine, in a sentence each."""
    sentences = []
    if before.model != after.model:
        sentences.append(f"The profiles are of two models, {before.model} and {after.model}.")
    settings = dump(before.settings), dump(after.settings)
    for part, (first, second), keys in (
        ("settings", settings, sorted({*settings[0]} - {"seed"})),
        ("machine", (before.machine, after.machine), _known(before.machine, after.machine)),
    ):
        different = [key for key in keys if first.get(key) != second.get(key)]
        sentences += [f"The profiles differ in {part}.{k}: {first.get(k)} and {second.get(k)}." for k in different]
    return sentences


def _known(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What of the machine decides about figures, where both profiles say it: one of an older version may not."""
    decisive = ("processor", "instruction_sets", "cores", "affinity", "torch", "onnxruntime")
    return [item for item in decisive if item in before and item in after]


def figures(profile: Profile) -> Figures:
    """Every number of every cut. Percentiles with too few samples are no numbers, and are left out."""
    rows: Figures = {}
    for cut in profile.cuts:
        places: list[tuple[str, str, object]] = [("", "", cut)]
        places += [("", codec, of_codec) for codec, of_codec in cut.codecs.items()]
        places += [(network, c, r) for network, requests in cut.networks.items() for c, r in requests.items()]
        for network, codec, part in places:
            for metric, figure in _numbers(dump(part), "", "", getattr(part, "source", "")):
                rows[Row(metric, cut.cut, network, codec)] = figure
    return rows


def _numbers(part: Mapping[str, Any], prefix: str, unit: str, source: str) -> Iterator[tuple[str, Figure]]:
    """The numbers of a part of a profile, by their path in it; the path does not name `end_to_end`."""
    for key, value in part.items():
        if key in _NO_METRICS:
            continue
        unit_here = "ns" if key.endswith("_ns") else "bytes" if key.endswith("bytes") else unit
        name = key.removesuffix("_ns")
        path = prefix if key == "end_to_end_ns" else f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping):
            yield from _numbers(value, path, unit_here, source)
        elif isinstance(value, int | float):
            # A value that is not a number is neither above nor below any limit.
            if not math.isfinite(value):
                raise ValueError(f"{path} is {value}")
            yield path, Figure(float(value), unit_here, source, part.get("n"))
