"""Damage to files on the disk: what crashes, full disks, hostile archives and slips of the hand leave, from a seed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = (0, -1, 1, 10**400, -(10**30), 2**31, 2**63, 1e308, -1e308, 1e-320, float("nan"), float("inf"))
OTHERS = (None, True, "", "x" * 20_000, "\0", "\ud800", "\x1b[31m<b>\u202e=1+1", [], {}, [[]], {"name": 1}, [None] * 50)
DEPTH = 30_000
_LOCAL_HEADER, _CENTRAL_HEADER = b"PK\x03\x04", b"PK\x01\x02"


def spoil(path: Path, rng: np.random.Generator) -> str:
    """Damage one file, and return what was done to it."""
    kind = rng.random()
    if kind < 0.12:
        return _replaced(path, rng)
    if kind < 0.6:
        if path.suffix in (".json", ".jsonl"):
            return _json_spoiled(path, rng)
        if path.suffix == ".npz":
            return _archive_spoiled(path, rng)
        if path.suffix == ".npy":
            path.write_bytes(_header_spoiled(path.read_bytes(), rng))
            return "header of the array"
    return _bytes_spoiled(path, rng)


def _replaced(path: Path, rng: np.random.Generator) -> str:
    """Put something else in the place of the file, or a link."""
    path.unlink()
    match int(rng.integers(6)):
        case 0:
            path.mkdir()
            return "a folder"
        case 1:
            os.mkfifo(path)
            return "a named pipe"
        case 2:
            path.symlink_to("/dev/zero")
            return "a link to /dev/zero"
        case 3:
            path.symlink_to(path.name)
            return "a link to itself"
        case 4:
            path.symlink_to(path.parent)
            return "a link to its folder"
        case _:
            return "nothing"


def _bytes_spoiled(path: Path, rng: np.random.Generator) -> str:
    data = bytearray(path.read_bytes())
    at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 40))
    match int(rng.integers(6)):
        case 0:
            del data[at:]
            what = "cut off"
        case 1:
            data[at : at + length] = bytes(length)
            what = "zeros"
        case 2:
            del data[at : at + length]
            what = "a piece is missing"
        case 3:
            data[at:at] = rng.bytes(length)
            what = "noise inserted"
        case 4:
            data = bytearray(rng.bytes(int(rng.integers(300))))
            what = "noise"
        case _:
            for place in rng.integers(max(1, len(data)), size=int(rng.integers(1, 9))).tolist():
                if place < len(data):
                    data[place] ^= 1 << int(rng.integers(8))
            what = "bits flipped"
    path.write_bytes(data)
    return f"{what} at {at}"


def _json_spoiled(path: Path, rng: np.random.Generator) -> str:
    """Put another value into the place of one, rename a key, or nest deeply."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    which = int(rng.integers(len(lines)))
    if rng.random() < 0.06:
        opening, closing = (("[", "]"), ('{"a":', "}"))[int(rng.integers(2))]
        lines[which] = opening * DEPTH + "1" + closing * DEPTH
        what = "nested deeply"
    else:
        value = [json.loads(lines[which])]
        places = list(_places(value))
        holder, key = places[int(rng.integers(len(places)))]
        what = f"{key}: {holder[key]!r:.60} -> "
        if isinstance(holder, dict) and rng.random() < 0.15:
            holder[(str(key) + "x", "", "\0")[int(rng.integers(3))]] = holder.pop(key)
            what += "another key"
        elif rng.random() < 0.2 and holder is not value:
            holder.pop(key)
            what += "nothing"
        else:
            holder[key] = _other(holder[key], rng)
            what += f"{holder[key]!r:.60}"
        with contextlib.suppress(ValueError):
            lines[which] = json.dumps(value[0])
    path.write_text("\n".join(lines) + "\n", errors="surrogatepass")
    return what


def _places(value: Any) -> Any:
    for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(entry, dict | list):
            yield from _places(entry)


def _other(value: Any, rng: np.random.Generator) -> Any:
    """Another value of the same kind, or one of another kind."""
    if rng.random() < 0.5:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return NUMBERS[int(rng.integers(len(NUMBERS)))]
        if isinstance(value, list):
            return [*value, *value] if rng.random() < 0.5 else value[: len(value) // 2]
        if isinstance(value, str):
            return OTHERS[int(rng.integers(2, 7))]
    return (*NUMBERS, *OTHERS)[int(rng.integers(len(NUMBERS) + len(OTHERS)))]


def _archive_spoiled(path: Path, rng: np.random.Generator) -> str:
    """Another header of an array, a member that is no array, or wrong claims about the members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = list(members)[int(rng.integers(len(members)))]
    what = int(rng.integers(5))
    if what == 0:
        del members[name]
    elif what == 1:
        members[name] = _header_spoiled(members[name], rng)
    elif what == 2:
        members[f"{'../' * int(rng.integers(3))}{'x' * int(rng.integers(300))}.npy"] = members[name]
    elif what == 3:
        members[name] = _array(np.array(OTHERS[int(rng.integers(len(OTHERS)))], object))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, data in members.items():
            archive.writestr(each, data)
    data = bytearray(content.getvalue())
    if what == 4:
        # Flags, compression, and sizes of one member, where the archive states them.
        mark = (_LOCAL_HEADER, _CENTRAL_HEADER)[int(rng.integers(2))]
        start = data.find(mark, data.find(name.encode()) - 50 if rng.random() < 0.5 else 0)
        offset, form, values = [
            (8, "<H", (1, 12, 14, 99)),
            (20, "<I", (0, 2**31, 2**32 - 1)),
            (24, "<I", (0, 2**32 - 2)),
        ][int(rng.integers(3))]
        with contextlib.suppress(struct.error):
            struct.pack_into(form, data, max(0, start) + offset, values[int(rng.integers(len(values)))])
    path.write_bytes(data)
    return f"archive, kind {what}, {name}"


def _array(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def _header_spoiled(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes of an .npy file with another shape or type in its header."""
    shapes = ("(1099511627776,)", "(-1,)", "(0,)", "()", "(4294967296, 4294967296)", "(True,)", "'x'", "(1,)" * 9)
    types = ("'|O'", "'<f8'", "'|S0'", "'<U9'", "[('a', '<f8')]", "'<M8[ns]'", "'|b1'", "'<c16'", "'?' * 9", "'|V0'")
    start = data.find(b"{")
    descr, shape = types[int(rng.integers(len(types)))], shapes[int(rng.integers(len(shapes)))]
    if rng.random() < 0.5:
        descr = "'<f4'"
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(118)[:118] + "\n"
    return data[: max(start, 10)][:8] + struct.pack("<H", len(header)) + header.encode() + data[128:]


def copied(source: Path, target: Path) -> None:
    """Copy a folder in place of what is there."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    shutil.copytree(source, target)
