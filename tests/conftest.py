"""What every test needs."""

import os

from hypothesis import settings

# Fixtures that tests of several folders use.
pytest_plugins = ("tests.models.lively", "tests.profile.profiled")

# Tests are small: threads only get in each other's way. Read by torch, numpy and onnxruntime when they load.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test says that something is fast, and an example that meets a busy machine is no finding.
settings.register_profile("cutlayer", deadline=None)
settings.load_profile("cutlayer")
