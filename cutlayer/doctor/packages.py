"""Checks of Python and the packages: present, new enough, and built for this processor."""

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
# What is imported to see that a package can be loaded; protobuf refuses generated code that is newer than itself.
_LOADED = {"numpy": "numpy", "grpcio": "grpc", "pyzmq": "zmq", "onnxruntime": "onnxruntime", "psutil": "psutil"}
_LOADED |= {"protobuf": "cutlayer.wire.open_inference_pb2"}
_EXTRAS = {
    "onnx": "`cutlayer edge` runs heads with it",
    "cut": "`cutlayer cuts`, `split`, `quantize` and `profile` need it for ONNX files",
    "zstd": "codecs that end in +zstd need it",
    "certs": "`cutlayer certs init` and the dates of certificates need it",
}


def check_packages() -> Iterator[Finding]:
    """Check Python, and each requirement of cutlayer and its extras for a device."""
    yield _python()
    try:
        wanted = _wanted()
    except metadata.PackageNotFoundError:
        yield fault("packages", "cutlayer itself is not installed", "pip install '.[onnx]' in its folder")
        return
    loading = {
        name: subprocess.Popen(
            [sys.executable, "-c", f"import {module}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for name, module in _LOADED.items()
        if _version(name)
    }
    findings = [_package(name, least, extra, loading.get(name)) for name, (least, extra) in wanted.items()]
    yield from (finding for finding in findings if finding.status != "ok")
    yield ok("packages", ", ".join(finding.says for finding in findings if finding.status == "ok"))


def unfit_packages() -> list[Finding]:
    """Return a fault for each package that cutlayer cannot do without and that is missing or too old."""
    try:
        wanted = _wanted()
    except metadata.PackageNotFoundError:
        return []
    findings = (_package(name, least, extra, None) for name, (least, extra) in wanted.items())
    return [finding for finding in findings if finding.status == "fault"]


def _wanted() -> dict[str, tuple[str, str | None]]:
    """Return the least version of each package, and the extra that brings it, from the metadata of cutlayer."""
    requirements = (_REQUIREMENT.fullmatch(text) for text in metadata.requires("cutlayer") or ())
    known = [match.groups() for match in requirements if match]
    order = (None, *_EXTRAS)
    # An extra that includes another one repeats its requirements; each package counts once, for the first in order.
    wanted: dict[str, tuple[str, str | None]] = {}
    for name, least, extra in sorted((row for row in known if row[2] in order), key=lambda row: order.index(row[2])):
        wanted.setdefault(name, (least, extra))
    return wanted


def _python() -> Finding:
    bits, version = 8 * struct.calcsize("P"), platform.python_version()
    if sys.version_info < LEAST_PYTHON:
        return fault("python", version, "install Python {}.{} or newer".format(*LEAST_PYTHON))
    if bits < 64:
        return fault(
            "python",
            f"{version} of {bits} bits on {platform.machine()}",
            "install a 64-bit system, since ONNX Runtime is not published for others",
        )
    return ok("python", f"{version} on {platform.machine()}")


def _package(name: str, least: str, extra: str | None, loading: subprocess.Popen[str] | None) -> Finding:
    version = _version(name)
    install = f"pip install 'cutlayer[{extra}]'" if extra else f"pip install '{name}>={least}'"
    if version is None:
        # A fault, although a head in torch does not need ONNX Runtime, because most devices have no torch.
        if extra in (None, "onnx"):
            return fault("packages", f"{name} is missing: {_EXTRAS.get(extra or '', 'cutlayer needs it')}", install)
        return note("packages", f"{name} is missing: {_EXTRAS[str(extra)]}", install)
    if _numbers(version) < _numbers(least):
        return fault(
            "packages", f"{name} is {version}, but at least {least} is needed", f"pip install '{name}>={least}'"
        )
    if loading is not None and (reason := _reason(loading)):
        return fault(
            "packages",
            f"{name} {version} cannot be loaded: {reason}",
            f"install a version of {name} that is built for {platform.machine()} and this system",
        )
    return ok("packages", f"{name} {version}")


def _reason(loading: subprocess.Popen[str]) -> str:
    """Return why a process that only imports a package failed; empty if it did not fail."""
    try:
        _, output = loading.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        loading.kill()
        loading.communicate()
        return f"it takes more than {LIMIT_S} s"
    if loading.returncode < 0:
        # SIGILL means that the package uses instructions that this processor lacks.
        return f"it ends with {signal.Signals(-loading.returncode).name}"
    return output.strip().splitlines()[-1] if loading.returncode and output.strip() else ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])
