"""A testbed for split learning: what a server can reconstruct, what a defense costs, how long a request takes.

The names in `__all__` are those of `cutlayer.api`, imported when they are first used; `__init__.pyi` has their types.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "attack",
    "connect",
    "cuts",
    "load_data",
    "observe",
    "open_split",
    "run",
    "score",
    "serve",
    "split",
    "view",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("cutlayer.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
