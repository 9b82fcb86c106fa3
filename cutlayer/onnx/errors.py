"""The error messages of ONNX Runtime, onnx and protobuf, in a form that ends a sentence of ours."""

from __future__ import annotations

import re

from cutlayer.foreign import shown

MOST = 400
"""Letters of a message that are shown: it may quote names of any length."""

_STATUS = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE = re.compile(r"/\S+\.(?:cc|h|hpp|cu):\d+ [^()]*\(")
_AFTER_SIGNATURE = re.compile(r"(?: const)?(?: \[with [^\]]*\])?(?:::<lambda\([^)]*\)>)? ?")
_NEWEST = re.compile(
    r"support for domain (?P<domain>\S+) is till opset (?P<opset>\d+)|max supported (?P<ir>IR version: \d+)"
)


def message(error: BaseException) -> str:
    """The message of an error in one line, without a full stop and without places in the source of ONNX Runtime."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    line = _STATUS.sub("", line)
    while place := _PLACE.search(line):
        end, depth = place.end(), 1
        while depth and end < len(line):
            depth += {"(": 1, ")": -1}.get(line[end], 0)
            end += 1
        rest = line[end:]
        line = line[: place.start()] + rest[_AFTER_SIGNATURE.match(rest).end() :]  # type: ignore[union-attr]
    return shown(line.strip().rstrip("."), MOST)


def newest(error: BaseException) -> str | None:
    """The newest opset or IR version that ONNX Runtime supports; None where the error has another cause."""
    match = _NEWEST.search(str(error))
    if match is None:
        return None
    if match["ir"]:
        return match["ir"].replace(":", "")
    return f"opset {match['opset']}" + ("" if match["domain"] == "ai.onnx" else f" of {match['domain']}")
