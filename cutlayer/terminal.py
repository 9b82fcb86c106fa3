"""What a command prints, and where: the only way for text to a terminal, so that no foreign text can steer it.

Results go to standard output; progress, the log, warnings and what went wrong go to standard error.
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO

from cutlayer.foreign import shown, shown_lines

MOST_WARNING = 1000
"""Letters of a warning of a library that are printed."""


def tell(line: object = "") -> None:
    """Print one line of a result."""
    _print(shown(line, most=None), sys.stdout)


def tell_lines(text: object) -> None:
    """Print a result of several lines, such as a table."""
    _print(shown_lines(text), sys.stdout)


def say(line: object) -> None:
    """Print one line of progress, so that standard output holds only results."""
    _print(shown(line, most=None), sys.stderr)


def say_lines(text: object) -> None:
    """Print several lines of progress, or about a fault."""
    _print(shown_lines(text), sys.stderr)


def show_typed(line: str | None) -> None:
    """Show the line that is being typed, in the place of what was typed of it before; with None, begin the next one."""
    if line is None:
        print(file=sys.stdout, flush=True)
        return
    wide = max(10, shutil.get_terminal_size().columns - 3)
    text = shown(line, most=None)[-wide:].encode(sys.stdout.encoding or "utf-8", "backslashreplace")
    print(f"\r\x1b[K> {text.decode(sys.stdout.encoding or 'utf-8')}", end="", file=sys.stdout, flush=True)


def _print(text: str, file: TextIO) -> None:
    # Not every terminal has every letter, and a result is not lost for one of them.
    encoding = file.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=file, flush=True)


class Formatter(logging.Formatter):
    """One line for each record of the log, so that no foreign text looks like a second; a traceback has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """See `logging.Formatter`."""
        return shown(super().formatMessage(record), most=None)

    def formatException(self, ei: object) -> str:  # noqa: N802
        """See `logging.Formatter`."""
        return shown_lines(super().formatException(ei))  # type: ignore[arg-type]


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            say_lines(self.format(record))
        except Exception:  # as the handlers of `logging` do: a log that cannot be written stops nothing
            self.handleError(record)


@contextmanager
def listening() -> Iterator[None]:
    """Within it, the log, warnings and the errors of threads are printed by `say`; so is an error that ends Python."""
    handler = _Handler()
    handler.setFormatter(Formatter())
    before = threading.excepthook
    with warnings.catch_warnings():
        logging.getLogger().addHandler(handler)
        warnings.showwarning = _warned
        threading.excepthook = lambda args: _failed(args.exc_type, args.exc_value, args.exc_traceback)
        sys.excepthook = _failed
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            threading.excepthook = before


def _warned(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:  # fmt: skip
    say(f"{filename}:{lineno}: {category.__name__}: {shown(message, MOST_WARNING)}")


def _failed(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    say_lines("".join(traceback.format_exception(kind, error, where)).rstrip("\n"))
