"""What every test needs."""

import os

# Tests are small: threads only get in each other's way. Read by torch, numpy and onnxruntime when they load.
os.environ.setdefault("OMP_NUM_THREADS", "1")
