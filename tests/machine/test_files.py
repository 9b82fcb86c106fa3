"""A file appears when it is whole, under a name that nobody can have prepared."""

import contextlib
import os
import stat

import pytest

from cutlayer.errors import WriteError
from cutlayer.machine import files
from cutlayer.machine.files import check_writable, leftovers, new_file, new_path, open_regular, part_of


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "deep" / "file"
    with new_file(path) as file:
        file.write(b"first")
        assert not path.exists()
    with contextlib.suppress(ZeroDivisionError), new_file(path) as file:
        file.write(b"sec")
        raise ZeroDivisionError
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_has_the_permissions_that_are_asked_for_from_its_beginning(tmp_path):
    for mode, umask, expected in ((0o666, 0o022, 0o644), (0o666, 0o077, 0o600), (0o600, 0o022, 0o600)):
        before = os.umask(umask)
        try:
            with new_path(tmp_path / "file", mode) as part:
                assert stat.S_IMODE(part.stat().st_mode) == expected
        finally:
            os.umask(before)


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("years of work")
    # As if the name could be guessed.
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0" * 16)
    part_of(tmp_path / "file").symlink_to(victim)
    with pytest.raises(WriteError, match="file exists"), new_file(tmp_path / "file"):
        pass
    assert victim.read_text() == "years of work"


def test_names_cannot_be_guessed_and_leftovers_are_found(tmp_path):
    path = tmp_path / f"[a*]{'n' * 250}"[:255]
    names = {part_of(path) for _ in range(100)}
    assert len(names) == 100
    for name in names:
        name.touch()
    (tmp_path / ".other.0123456789abcdef.part").touch()
    assert set(leftovers(path)) == names


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "device"])
def test_what_is_no_ordinary_file_is_neither_opened_nor_replaced(tmp_path, kind):
    path = tmp_path / "file"
    match kind:
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = type(path)("/dev/null")
    with pytest.raises(OSError, match=r"it is a link|folder|ordinary|Is a directory|No such device"):
        open_regular(path, os.O_RDWR | os.O_CREAT)
    if kind != "link":  # a new file takes the place of the link, and not of its target
        with pytest.raises(WriteError, match=r"it is (a folder|no ordinary file)"):
            check_writable(path, "file")
        with pytest.raises(WriteError, match=r"it is (a folder|no ordinary file)"), new_file(path):
            pass
        assert not path.is_file()


def test_a_folder_inside_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for kind in ("file", "folder", "new folder"):
        with pytest.raises(WriteError, match=r"/file is no folder|not a directory"):
            check_writable(tmp_path / "file" / "deep" / "out", kind)
        check_writable(tmp_path / "deep" / "out", kind)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
