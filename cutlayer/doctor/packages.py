"""Whether Python and the packages that a device needs are there, new enough, and made for its processor."""

from __future__ import annotations

import platform
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

from cutlayer.doctor.finding import Finding, fault, note, ok

LEAST_PYTHON = (3, 11)
LIMIT_S = 60

_REQUIREMENT = re.compile(r"([\w.-]+)\s*>=\s*([\d.]+)(?:.*extra\s*==\s*['\"](\w+)['\"])?.*")
_COMPILED = {"numpy": "numpy", "grpcio": "grpc", "pyzmq": "zmq", "onnxruntime": "onnxruntime", "psutil": "psutil"}
_EXTRAS = {
    "onnx": "`cutlayer edge` runs heads with it",
    "cut": "`cutlayer cuts`, `split`, `quantize` and `profile` take ONNX files apart with it",
    "zstd": "codecs that end in +zstd need it",
    "certs": "`cutlayer certs init` needs it, and reading the dates of certificates",
}


def check_packages() -> Iterator[Finding]:
    """Python, and each requirement of cutlayer and of what a device may add to it."""
    yield _python()
    try:
        requirements = [_REQUIREMENT.fullmatch(text) for text in metadata.requires("cutlayer") or ()]
    except metadata.PackageNotFoundError:
        yield fault("packages", "cutlayer itself is not installed", "pip install '.[onnx]' in its folder")
        return
    known = [match.groups() for match in requirements if match]
    wanted = [(name, least, extra) for name, least, extra in known if extra is None or extra in _EXTRAS]
    loading = {
        name: subprocess.Popen(
            [sys.executable, "-c", f"import {module}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for name, module in _COMPILED.items()
        if _version(name)
    }
    found = [_package(name, least, extra, loading.get(name)) for name, least, extra in wanted]
    yield from (one for one in found if one.status != "ok")
    there = ", ".join(one.says for one in found if one.status == "ok")
    yield ok("packages", there)


def _python() -> Finding:
    bits, version = 8 * struct.calcsize("P"), platform.python_version()
    if sys.version_info < LEAST_PYTHON:
        return fault("python", version, "install Python {}.{} or newer".format(*LEAST_PYTHON))
    if bits < 64:
        return fault(
            "python",
            f"{version} of {bits} bits on {platform.machine()}",
            "install a 64-bit system: nobody publishes ONNX Runtime for smaller ones",
        )
    return ok("python", f"{version} on {platform.machine()}")


def _package(name: str, least: str, extra: str | None, loading: subprocess.Popen[str] | None) -> Finding:
    version = _version(name)
    install = f"pip install 'cutlayer[{extra}]'" if extra else f"pip install '{name}>={least}'"
    if version is None:
        # A head in torch does without, but torch has no place on most devices.
        if extra in (None, "onnx"):
            return fault("packages", f"{name} is missing: {_EXTRAS.get(extra or '', 'cutlayer needs it')}", install)
        return note("packages", f"{name} is missing: {_EXTRAS[str(extra)]}", install)
    if _numbers(version) < _numbers(least):
        return fault("packages", f"{name} is {version}, and {least} the oldest that will do", install)
    if loading is not None and (reason := _reason(loading)):
        return fault(
            "packages",
            f"{name} {version} cannot be loaded: {reason}",
            f"install another version of {name}, one built for {platform.machine()} and this system",
        )
    return ok("packages", f"{name} {version}")


def _reason(loading: subprocess.Popen[str]) -> str:
    """Why a process that only loads a package failed; nothing if it did not."""
    try:
        _, said = loading.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        loading.kill()
        loading.communicate()
        return f"it takes more than {LIMIT_S} s"
    if loading.returncode < 0:
        # SIGILL: made for a processor with more instructions than this one.
        return f"it ends with {signal.Signals(-loading.returncode).name}"
    return said.strip().splitlines()[-1] if loading.returncode and said.strip() else ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])
