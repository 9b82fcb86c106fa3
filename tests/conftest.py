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
