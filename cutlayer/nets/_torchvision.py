"""`torchvision.models` and its transforms, also where torchvision's compiled operators cannot be loaded.

PyPI has torchvision for CUDA. With a CPU-only torch its operators do not load, and the import then fails at the
registration of a fake `torchvision::nms`. Neither uses these operators, so declaring them is enough.
"""

import importlib
import sys
from types import ModuleType

import torch

_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

try:
    import torchvision
except RuntimeError as _error:
    if "torchvision::nms" not in str(_error):
        raise
    for _name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[_name]
    # The declarations live as long as this object.
    _library = torch.library.Library("torchvision", "DEF")
    for _operator in ("nms", "qnms"):
        _library.define(_operator + _BOXES)
    torchvision = importlib.import_module("torchvision")

models = torchvision.models


def transforms() -> ModuleType:
    """`torchvision.transforms.v2`, imported when it is asked for."""
    return importlib.import_module("torchvision.transforms.v2")
