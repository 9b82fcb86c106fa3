"""Names of what is not part of cutlayer: ``package.module:attribute``, ``path/to/file.py:attribute``, entry points.

A file is imported once in each process, under a name that follows from its path, so that a class is the same class for
everyone who names it. The source is read once, too: what runs is what the hash was computed over.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import traceback
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from cutlayer.errors import ConfigError, missing_package, near
from cutlayer.foreign import shown

FILE = re.compile(r"(.+\.py):([A-Za-z_]\w*)")
_MODULE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")

IN_FOLDER = "hf/"
"""How the name of a model begins whose folder follows."""


def is_own(name: str) -> bool:
    """Whether the name has the form of an attribute of a file or of a module."""
    return bool(FILE.fullmatch(name) or _MODULE.fullmatch(name))


def resolved(name: str, folder: Path) -> str:
    """The name with the path of its file made absolute, a relative one from this folder; other names as they are."""
    if place := in_folder(name):
        path = folder / Path(place).expanduser()
        # What is no folder is the name of an installed package.
        return recordable(IN_FOLDER + os.path.abspath(path)) if path.is_dir() or "/" in place else name
    match = FILE.fullmatch(name)
    if not match:
        return name
    return recordable(f"{Path(os.path.abspath(folder / Path(match[1]).expanduser()))}:{match[2]}")


def in_folder(name: str) -> str:
    """The path of the folder that a name such as ``hf/models/minilm`` stands for; empty for other names."""
    return name.removeprefix(IN_FOLDER) if name.startswith(IN_FOLDER) else ""


def recordable(name: str) -> str:
    """The name of a file as it is, which records hold and ONNX Runtime takes as text in UTF-8.

    Raises:
        ConfigError: It has bytes that are no UTF-8, as a name in Latin-1 from an old disk has.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{shown(name)} has a name that is no UTF-8, which neither records nor ONNX Runtime take; rename it or "
            "its folder."
        ) from None
    return name


def is_path(name: str, folder: Path = Path()) -> bool:
    """Whether the name is meant as the path of data: it has a separator, ends as data do, or is a folder there."""
    if is_own(name):
        return False
    return (
        "/" in name or os.sep in name or name.endswith((".npz", ".npy", ".csv", ".txt")) or os.path.isdir(folder / name)
    )


def attribute(name: str) -> str:
    """The name for a reader: ``Gray`` of ``/home/me/mine.py:Gray``; other names as they are."""
    return name.rpartition(":")[2] if is_own(name) else name


def place(name: str) -> str:
    """The name without the folder of its file: ``mine.py:Gray``."""
    match = FILE.fullmatch(name)
    return f"{Path(match[1]).name}:{match[2]}" if match else name


def digest(name: str) -> str:
    """SHA-256 of the source file in which the name is defined, in hex; of that file alone, not of what it imports.

    Raises:
        ConfigError: There is no such file or module.
    """
    return hashlib.sha256(_source(_file(name))).hexdigest()


def load(name: str) -> Any:
    """Import the file or the module, and return the attribute.

    Raises:
        ConfigError: There is no such file, module or attribute, or it cannot be imported; the message has the line.
    """
    where, _, wanted = name.rpartition(":")
    path = _file(name)
    module = _from_file(path) if FILE.fullmatch(name) else _from_path(where, path)
    if not hasattr(module, wanted):
        known = [key for key, value in vars(module).items() if not key.startswith("_") and not _is_module(value)]
        raise ConfigError(f"{where} defines no {wanted!r}; {near(wanted, known)}")
    return getattr(module, wanted)


@cache
def offered(group: str) -> dict[str, list[importlib.metadata.EntryPoint]]:
    """What installed packages offer under an entry point group, by name; several where two packages use one name."""
    points: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for point in importlib.metadata.entry_points(group=group):
        points.setdefault(point.name, []).append(point)
    return points


def _file(name: str) -> Path:
    """The source file of a name. A module is looked for, and its parent packages are imported."""
    where, _, _ = name.rpartition(":")
    if FILE.fullmatch(name):
        path = Path(where).expanduser().absolute()
        # On another machine, or in a folder that was moved, the file lies where the command is started.
        found = next((place for place in (path, Path.cwd() / path.name) if place.is_file()), None)
        if found is None:
            raise ConfigError(
                f"There is no file {path}, which is to define {attribute(name)!r}; copy it there, or into the current "
                "folder."
            )
        return found
    spec = _found(where)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ConfigError(
            f"There is no module {where!r} that defines {attribute(name)!r}; install its package, put its folder on "
            f"PYTHONPATH, or name its file, such as folder/{where.rpartition('.')[2]}.py:{attribute(name)}."
        )
    return Path(spec.origin)


def _found(module: str) -> importlib.machinery.ModuleSpec | None:
    folder = os.getcwd()
    try:
        return importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        pass
    finally:
        # As `python -m` does, but behind everything that is installed.
        if folder not in sys.path:
            sys.path.append(folder)
    try:
        return importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        return None


@cache
def _source(path: Path) -> bytes:
    return path.read_bytes()


class _Loader(SourceFileLoader):
    """Compiles what the hash was computed over, and neither reads nor writes a compiled file."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(_source(Path(self.path)), self.path)


def _from_file(path: Path) -> ModuleType:
    stem = re.sub(r"\W", "_", path.stem)
    name = f"cutlayer_own_{stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    # The file may import its neighbors; what is installed goes before them.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        raise _refused(path, error) from error
    return module


def _from_path(module: str, path: Path) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # the user's code runs here, and may raise anything
        raise _refused(path, error) from error


def _refused(path: Path, error: BaseException) -> BaseException:
    """The error for a file that cannot be imported, with the line of it that is to blame."""
    if not isinstance(error, Exception):
        return error
    if isinstance(error, ModuleNotFoundError):
        return ConfigError(f"{path} cannot be imported: {missing_package(error)}")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    where = f"{path}, line {line}," if line else f"{path}"
    return ConfigError(f"{where} cannot be imported: {type(error).__name__}: {text}")


def _is_module(value: object) -> bool:
    return isinstance(value, ModuleType)
