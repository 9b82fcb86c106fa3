"""Files within bounds: what lies at a path may be anything, and may claim anything."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest

from cutlayer import bounded


def saved(array, **options):
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


def header(shape, descr="<f4"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def zipped(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("what", ["folder", "pipe", "device", "loop", "socket"])
def test_only_files_are_read_and_nothing_is_waited_for(tmp_path, what):
    path = tmp_path / "file"
    match what:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to("file")
        case "socket":
            os.mknod(path, 0o600 | 0o140000)
    for read in (bounded.read_text, bounded.read_json, bounded.read_arrays, bounded.map_array, bounded.check_regular):
        with pytest.raises(OSError, match=r"\[Errno") as raised:
            read(path)
        assert str(tmp_path) not in bounded.reason(raised.value)


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "a").write_text("\ufeffµ", encoding="utf-8")
    (tmp_path / "b").symlink_to("a")
    assert bounded.read_text(tmp_path / "b") == "µ"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested more than 64 deep"),
        (b"[" * 65 + b"1" + b"]" * 65, "nested more than 64 deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested more than 64 deep"),
        (b'{"a": 1', "no JSON"),
        (b"", "no JSON"),
        (b"1" * 5000, "digits"),
        (b'"\xff"', "byte 1 is no UTF-8"),
        ('"µ"'.encode("utf-16"), "byte order mark of UTF-16"),
        (b" " * 101 + b"1", "larger than 100 bytes"),
    ],
)
def test_what_is_no_json_within_bounds(tmp_path, content, reason):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        bounded.read_json(path, 100 if "larger" in reason else 1 << 20)


def test_json_of_older_versions_is_read(tmp_path):
    (tmp_path / "a.json").write_text('\ufeff{"a": [Infinity, -Infinity], "b": "\\ud800"}', encoding="utf-8")
    assert bounded.read_json(tmp_path / "a.json") == {"a": [np.inf, -np.inf], "b": "\ud800"}


def test_arrays_are_read_as_numpy_wrote_them(tmp_path):
    arrays = {
        "c": np.arange(12, dtype=np.float16).reshape(3, 4), "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "empty": np.zeros((0, 3)), "number": np.array(7), "text": np.array(["a", "bc"]), "a/b c": np.ones(2, bool),
    }  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = bounded.read_arrays(tmp_path / "a.npz")
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    for array in arrays.values():
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(bounded.map_array(tmp_path / "a.npy"), array)


CLAIM = header("(1099511627776,)")


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (CLAIM, "4,194,304 MiB by its header"),
        (header("(1099511627776,)", "|V0"), "empty elements"),
        (header("(True,)") + bytes(4), "no array"),
        (saved(np.array([{}], object), allow_pickle=True), "no array of numbers"),
        (saved(np.zeros(3, "f4,i4")), "no array of numbers"),
        (header("(2,)") + bytes(9), "goes on after"),
        (b"\x93NUMPY\x09\x00", "no array"),
        (b"text", "no array"),
    ],
)
def test_hostile_arrays_are_refused_before_memory_is_taken(tmp_path, member, reason):
    zipped(tmp_path / "a.npz", {"x.npy": member}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=reason):
        bounded.read_arrays(tmp_path / "a.npz")
    if "after" not in reason:
        (tmp_path / "x.npy").write_bytes(member)
        with pytest.raises(ValueError, match=reason):
            bounded.map_array(tmp_path / "x.npy")


def test_bombs_and_foreign_archives_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    zipped(path, {"x.npy": saved(np.zeros(1 << 20))}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 14
    with pytest.raises(ValueError, match="8 MiB by its list; at most 1 MiB are read"):
        bounded.read_arrays(path, 1 << 20)
    zipped(path, {f"{i}.npy": b"" for i in range(bounded.MOST_ARRAYS + 1)})
    with pytest.raises(ValueError, match="10,001 arrays"):
        bounded.read_arrays(path)
    zipped(path, {"x.npy": saved(np.zeros(9))}, compression=zipfile.ZIP_LZMA)
    with pytest.raises(ValueError, match="packed in a way that numpy does not write"):
        bounded.read_arrays(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match="no archive of arrays"):
        bounded.read_arrays(path)
