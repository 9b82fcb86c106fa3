import subprocess
import sys

import pytest

from cutlayer.errors import ConfigError
from cutlayer.machine.memory import enough_memory, is_lack_of_memory

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux limits memory")


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("[ONNXRuntimeError] : std::bad_alloc"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_the_lack_of_memory_is_told_from_other_errors(error, lacks):
    assert is_lack_of_memory(error) is lacks


def test_what_to_make_smaller_is_said_in_place_of_the_librarys_error():
    said = pytest.raises(ConfigError, match=r"^The run ran out of memory; try it with batch=32, or with more memory")
    with said, enough_memory("The run", "batch=32"):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
    with pytest.raises(RuntimeError, match="another"), enough_memory("The run", "batch=32"):
        raise RuntimeError("another")


@LINUX
def test_a_limit_holds_for_torch_and_numpy():
    code = """
import numpy, torch
from cutlayer.errors import ConfigError
from cutlayer.machine.memory import is_lack_of_memory, limit_memory, unlimit_memory
try:
    limit_memory(0.25)
except ConfigError as error:
    print("must be at least" in str(error))
limit_memory(2.5)
for claim in (lambda: torch.empty(1 << 30), lambda: numpy.empty(1 << 32, numpy.uint8)):
    try:
        claim()
    except Exception as error:
        print(is_lack_of_memory(error))
unlimit_memory()
print(len(numpy.empty(1 << 32, numpy.uint8)) == 1 << 32)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 4
