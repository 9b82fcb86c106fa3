"""What the figures of a profile and of a run depend on: machine, versions, code, clock."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import cutlayer
from cutlayer.machine.command import command
from cutlayer.machine.compute import has_fast_bf16
from cutlayer.machine.limits import cores

PACKAGES = ("torch", "torchvision", "onnxruntime", "onnx", "numpy", "grpcio", "pyzmq", "protobuf")
"""Packages whose versions a run records."""


INSTRUCTION_SETS = (
    "sse4_2", "avx", "fma", "f16c", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_bf16", "amx_int8", "asimd", "asimddp", "bf16", "i8mm", "sve", "sve2",
)  # fmt: skip
"""Instruction sets that a record names, as Linux spells them: those on which the kernels of the packages depend."""


def machine() -> dict[str, Any]:
    """What a profile records of this machine, and how busy it is."""
    affinity, clock = cores(), time.get_clock_info("monotonic")
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "instruction_sets": _instruction_sets(),
        "cores": os.cpu_count(),
        "affinity": None if affinity is None else list(affinity),
        "system": platform.platform(),
        "python": platform.python_version(),
        "onnxruntime": _version("onnxruntime"),
        "torch": _version("torch"),
        "cutlayer": _version("cutlayer"),
        "load_1min": _load(),
        "clock": clock.implementation,
        "clock_resolution_ns": round(clock.resolution * 1e9),
        "time": _now(),
    }


def _processor() -> str:
    """The name of the processor, or of its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model")))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _instruction_sets() -> list[str] | None:
    """Those of `INSTRUCTION_SETS` that the processor has; None where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        named = next(line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return None
    return [name for name in INSTRUCTION_SETS if name in named]


def _load() -> float | None:
    """Processes that ran or waited for a core, mean over the last minute; None where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def environment(*, edge: int, cloud: int) -> dict[str, Any]:
    """What a run records of its command, code, versions, machine, load, threads and clock, at its begin.

    `edge` and `cloud` are the threads of the device's head and of the server's tail.
    """
    import torch

    clock = time.get_clock_info("monotonic")
    return {
        "command": command(),
        "cutlayer": cutlayer.__version__,
        **_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _processor(),
        "instruction_sets": _instruction_sets(),
        "torch_kernels": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": has_fast_bf16(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: _version(name) for name in PACKAGES},
        "threads": {"attacker": torch.get_num_threads(), "edge": edge, "cloud": cloud},
        "clock": f"{clock.implementation}, resolution {clock.resolution * 1e9:.0f} ns",
        "load_1min": _load(),
        "started": _now(),
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _commit() -> dict[str, Any]:
    """The commit of the checkout and whether it has changes; None for both where cutlayer is an installed package."""
    here = Path(cutlayer.__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # an environment inside some other checkout is none of ours
        return {"commit": git("rev-parse", "--short=12", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def decisive(env: Mapping[str, Any]) -> dict[str, str]:
    """What decides about the last digits of a run's figures, by its name: with another value, one seed gives others.

    An item that a record of an older version does not have is left out.
    """
    packages, threads = env.get("packages") or {}, env.get("threads") or {}
    items = {
        "processor": env.get("cpu"),
        "instruction sets": " ".join(map(str, env.get("instruction_sets") or ())) or None,
        "kernels of torch": env.get("torch_kernels"),
        "GPU": env.get("gpu"),
        "threads of training and attacks": threads.get("attacker"),
        **{name: packages.get(name) for name in ("torch", "onnxruntime", "numpy")},
        "commit": f"{env['commit']}{', with changes' * bool(env.get('dirty'))}" if env.get("commit") else None,
    }
    return {name: str(value) for name, value in items.items() if value is not None}
