"""The rules of the house that a program can check."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"], ["lint-imports"]],
    ids=lambda command: " ".join(command),
)
def test_the_tree_is_clean(command):
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_registered_name_can_be_loaded():
    from cutlayer import registry

    for table in (v for v in vars(registry).values() if isinstance(v, registry.Registry)):
        for name in table:
            assert table.load(name) is not None
            assert table.summary(name), f"{table.kind} {name} has no one-line description"


def test_no_benchmark_hides_a_package():
    """Its folder is the first that Python looks into, for all benchmarks."""
    packages = {folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").exists()}
    assert packages
    assert not packages & {file.stem for file in (ROOT / "benchmarks").iterdir()}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_versions_and_no_addresses(lock):
    for line in (ROOT / lock).read_text().splitlines():
        name, equals, version = line.partition("==")
        assert all((name, equals, version)), line
        assert "/" not in line
