"""The command line, run in this process, because a process of its own spends seconds on imports.

Tests of signals, of exit codes as a shell sees them, and of what is not imported start a process all the same.
"""

import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from tempfile import TemporaryFile

import pytest

from cutlayer import cli


def cutlayer(*words: object) -> "subprocess.CompletedProcess[str]":
    """Run ``cutlayer WORDS...`` through `cutlayer.cli.main`; what it printed and its exit code, as of a process.

    What a library writes past `sys.stdout` and `sys.stderr` is not in it.
    """
    given, code = [*map(str, words)], 0
    # Files, in which also a forked child prints.
    with (
        TemporaryFile("w+", encoding="utf-8") as out,
        TemporaryFile("w+", encoding="utf-8") as err,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["cutlayer", *given])
        # Kept as they are for the tests that follow.
        patch.setattr(sys, "excepthook", sys.excepthook)
        patch.setattr(cli, "heed", lambda: None)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        printed = []
        for file in (out, err):
            file.seek(0)
            printed.append(file.read())
    return subprocess.CompletedProcess(given, code, *printed)
