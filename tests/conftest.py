"""What every test needs."""

import importlib.util
import os

import pytest
from hypothesis import settings

# Fixtures that tests of several folders use; those of models need torch, which a device does not have.
pytest_plugins = [
    "tests.browser",
    "tests.profile.profiled",
    *["tests.models.lively"] * bool(importlib.util.find_spec("torch")),
]

# Tests are small: threads only get in each other's way. Read by torch, numpy and onnxruntime when they load.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test says that something is fast, and an example that meets a busy machine is no finding.
settings.register_profile("cutlayer", deadline=None)
settings.load_profile("cutlayer")


@pytest.fixture
def folder(tmp_path):
    """A split folder of two ONNX operators a side."""
    from tests.tiny_split import write_split

    write_split(tmp_path / "split")
    return tmp_path / "split"


LONG = (
    "tests/test_repository.py", "tests/experiment/test_grid.py", "tests/test_docs.py", "tests/test_recipes.py",
    "tests/experiment", "tests/profile", "tests/live", "tests/packaging", "tests/test_examples.py", "tests/faults",
    "tests/hostile", "tests/fuzz", "tests/nets/test_together.py", "tests/test_silence.py",
)  # fmt: skip
"""Files and folders that take long, most of them with few tests: begun first, so that no process ends alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of `LONG` first."""

    def place(item: pytest.Item) -> int:
        file = item.nodeid.partition("::")[0]
        return next((i for i, name in enumerate(LONG) if file == name or file.startswith(f"{name}/")), len(LONG))

    items.sort(key=place)
