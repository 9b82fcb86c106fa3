"""Which tests of ONNX files need torch, which is absent where `make test-oldest` runs."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("torch") else ["test_named.py", "test_deployed.py"]
