"""How this machine computes fastest: device, precision, memory layout and allocator.

Torch is imported inside the functions, so that the device's process can tune its allocator without it.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from cutlayer.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def tune_allocator() -> bool:
    """Keep large freed blocks in the process, because each step allocates tensors of the same sizes.

    By default glibc returns a large freed block to the kernel, and every page of the next one is faulted in again.
    Call this once, at the start of a process.

    Returns:
        Whether the C library accepted the settings; False where it is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_TRIM_THRESHOLD, 1 << 30), (_M_TOP_PAD, 64 << 20), (_M_MMAP_THRESHOLD, 32 << 20))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)


def give_back_memory() -> None:
    """Return freed memory to the kernel, after much of it was freed that is not needed again."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Return the memory of this process that is in use; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or the fastest one present: cuda, then mps, then cpu.

    Raises:
        ConfigError: The named device does not exist on this machine.
    """
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name is None:
        return torch.device(next(kind for kind, here in present.items() if here))
    if not present.get(name.partition(":")[0]):
        here = ", ".join(kind for kind, here in present.items() if here)
        raise ConfigError(f"This machine has no device {name!r}; it has {here}.")
    try:
        return torch.device(name)
    except RuntimeError:
        raise ConfigError(f"{name!r} is no name of a device; write a name such as cpu, cuda or cuda:1.") from None


@functools.cache
def has_fast_bf16() -> bool:
    """Whether torch multiplies bfloat16 in hardware on this CPU; where it does not, bfloat16 is slower than float32.

    `ATEN_CPU_CAPABILITY` tells torch to compute as on an older CPU, which has no bfloat16.
    """
    import torch

    is_old = torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2")
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return not flags.isdisjoint({"avx512_bf16", "amx_bf16"}) and not is_old


def autocast(device: torch.device | str = "cpu", *, enabled: bool = True) -> AbstractContextManager[object]:
    """A context in which matrix products run in bfloat16 where the device is faster with it.

    Weights and results of reductions stay float32. Losses belong outside, on logits converted to float32.
    """
    import torch

    kind = torch.device(device).type
    fast = (kind == "cpu" and has_fast_bf16()) or (kind == "cuda" and torch.cuda.is_bf16_supported())
    return torch.autocast(kind, dtype=torch.bfloat16) if enabled and fast else nullcontext()


def fastest_layout(axes: int) -> torch.memory_format:
    """The layout of a batch with so many axes: that which convolutions prefer, for a batch of images."""
    import torch

    return torch.channels_last if axes == 4 else torch.contiguous_format


@contextmanager
def placed(device: torch.device, *modules: nn.Module) -> Iterator[None]:
    """Move modules to `device`, in the layout that its convolutions prefer; afterwards back to the CPU, contiguous.

    Contiguous, because safetensors stores no other layout. The parameters stay the same objects throughout.
    """
    import torch

    try:
        for module in modules:
            module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        yield
    finally:
        for module in modules:
            module.to("cpu").to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
