"""A process that uses gRPC may fork: to work on a file with limits, or because a program asks for it."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import collections, subprocess, sys
from pathlib import Path
from cutlayer.machine.confined import Limits, confined
from tests.tiny_split import serving

with serving(Path(sys.argv[1]), "grpc"):
    for _ in range(30):
        assert confined(lambda: 7, Limits(), "a file") == 7
    ends = collections.Counter(subprocess.run(["true"], preexec_fn=int).returncode for _ in range(30))
print(dict(ends))
"""
ROOT = Path(__file__).parents[3]


def test_what_a_process_with_grpc_forks_is_not_aborted(folder):
    """The handlers that gRPC adds to a fork abort one child of 20 to 150; that they run is in gRPC's own log."""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, folder], capture_output=True, text=True, check=False,
        cwd=ROOT, env=environment | {"GRPC_VERBOSITY": "INFO"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "{0: 30}\n"), done.stderr
    assert "fork" not in done.stderr
