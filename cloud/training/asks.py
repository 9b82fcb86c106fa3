"""What is read from an ask, and what answers it."""

from __future__ import annotations

import json

from cutlayer.errors import CutlayerError, DecodeError, Refused, WireError
from cutlayer.foreign import shown
from cutlayer.wire.codecs.base import Encoded, Parameter
from cutlayer.wire.training import Ask
from cutlayer.wire.transport import refusal

Answer = tuple[dict[str, Parameter], dict[str, Encoded]]
"""Parameters and tensors of a reply."""


def tensor(ask: Ask, name: str) -> Encoded:
    """The tensor of this name. Raises DecodeError."""
    if name not in ask.tensors:
        raise DecodeError(f"The tensor {name!r} is missing in this {ask.call.name.lower()}.")
    return ask.tensors[name]


def whole(ask: Ask, name: str, least: int = 0, absent: int | None = None) -> int:
    """The whole number of this name, which may be absent if a value is given for that. Raises DecodeError."""
    value = ask.parameters.get(name, absent)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise DecodeError(
            f"The parameter {name!r} of this {ask.call.name.lower()} must be a whole number from {least}."
        )
    return value


MOST_ALARMS = 16
"""Alarms in one ask, at most."""


def alarms(ask: Ask) -> list[tuple[str, int, float, float]]:
    """The alarms of a client's detectors: name, step, score and threshold. Raises DecodeError."""
    text = ask.parameters.get("alarms", "[]")
    try:
        entries = json.loads(str(text)[: MOST_ALARMS << 10])
        return [(shown(str(name), 80), int(step), float(score), float(most)) for name, step, score, most in entries]
    except (ValueError, TypeError, RecursionError, OverflowError):
        raise DecodeError("The alarms of a client are a JSON list of [detector, step, score, threshold].") from None


def unmet(text: str) -> Refused:
    """The refusal of an ask that does not fit the plan or comes at a wrong time."""
    return Refused("FAILED_PRECONDITION", text)


def refused(error: Exception) -> Refused:
    """The refusal for an error; errors that we raise on purpose show their text."""
    if isinstance(error, CutlayerError) and not isinstance(error, WireError):
        return unmet(str(error))
    return refusal(error)
