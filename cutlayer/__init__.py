"""A testbed for split learning: what a server can reconstruct, what a defense costs, how long a request takes.

The names in `__all__` are those of `cutlayer.api`, imported when they are first used; `__init__.pyi` has their types.
"""

import importlib
import os
import sys
import warnings
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "attack",
    "connect",
    "cuts",
    "load_data",
    "observe",
    "open_split",
    "probe",
    "run",
    "score",
    "serve",
    "split",
    "train",
    "view",
]

# ONNX Runtime for Linux and macOS, from 1.29 on, reports each process that loads it to its maker. It reads this
# variable when it is loaded, and only then. So the variable is set here, before any module of this package, any library
# and any file of the user's own can load it. Child processes inherit it. An empty value, or 0, would not turn it off.
if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
    warnings.warn(
        "onnxruntime was imported before cutlayer, and may have reported this process to its maker; import cutlayer "
        "first, or set ORT_DISABLE_TELEMETRY=1 in the environment.",
        stacklevel=2,
    )
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("cutlayer.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
