"""The command that a person has typed, for the records of what it makes, in all processes that work for it.

It is handed down in the environment, so that a process of a pool or a server that a command has started records what
was typed, and not how it was itself started.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VARIABLE = "CUTLAYER_COMMAND"
"""Variable of the environment that holds the words of the command, as JSON."""


@contextmanager
def commanded(words: Sequence[str]) -> Iterator[None]:
    """Within it, what is recorded was made by this command, unless a process above has said by which one.

    Args:
        words: What was typed, ``cutlayer`` first. An absolute path in the current folder or in the home folder is
            recorded as a relative one, because it names this machine's user and helps nobody elsewhere.
    """
    if VARIABLE in os.environ:
        yield
        return
    os.environ[VARIABLE] = json.dumps([_portable(word) for word in words])
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)


def command() -> list[str] | None:
    """The words of the command for which this process works, ``cutlayer`` first; None where no command is behind it."""
    try:
        words = json.loads(os.environ.get(VARIABLE, "null"))
    except ValueError:
        return None
    return words if isinstance(words, list) and words and all(isinstance(word, str) for word in words) else None


def command_line(env: Mapping[str, Any]) -> str:
    """The command of a record's `env.json`, quoted for a shell; empty where the record names none.

    It is foreign text, as all of a record.
    """
    words = env.get("command")
    return shlex.join(map(str, words)) if isinstance(words, list) else ""


def _portable(word: str) -> str:
    option, equals, value = word.rpartition("=")
    if not value.startswith("/"):
        return word
    path, here = Path(os.path.normpath(value)), Path.cwd()
    near = path.is_relative_to(here) or (path.is_relative_to(Path.home()) and here.is_relative_to(Path.home()))
    return f"{option}{equals}{os.path.relpath(path, here)}" if near else word
