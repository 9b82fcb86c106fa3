"""What machine this is, what runs on it, and what every figure depends on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import cutlayer


def machine() -> dict[str, Any]:
    """This machine, and how busy it is, as plain data."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "affinity": affinity,
        "system": platform.platform(),
        "python": platform.python_version(),
        "onnxruntime": _version("onnxruntime"),
        "cutlayer": _version("cutlayer"),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "clock": time.get_clock_info("monotonic").implementation,
        "clock_resolution_ns": round(time.get_clock_info("monotonic").resolution * 1e9),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _processor() -> str:
    """Its name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model")))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


PACKAGES = ("torch", "torchvision", "onnxruntime", "onnx", "numpy", "grpcio", "pyzmq", "protobuf")


def environment() -> dict[str, Any]:
    """What the figures depend on: code, versions, machine, threads, clock."""
    import torch

    clock = time.get_clock_info("monotonic")
    return {
        "cutlayer": cutlayer.__version__,
        **_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _processor(),
        "cores": psutil.cpu_count(logical=True),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "threads": {"attacker": torch.get_num_threads()},
        "clock": f"{clock.implementation}, resolution {clock.resolution * 1e9:.0f} ns",
        "started": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _commit() -> dict[str, Any]:
    """The checkout's commit, or None where cutlayer runs from an installed package."""
    here = Path(cutlayer.__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "--short=12", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
