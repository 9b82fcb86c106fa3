"""The runtime for browsers: fetched once, checked by its hash, and a sentence about what to do where it is not had."""

import gzip
import hashlib
import io
import os
import tarfile
import urllib.request
from urllib.error import HTTPError

import pytest

from cutlayer.errors import ConfigError
from cutlayer.live.runtime import Package, Runtime
from tests.live.open_app import open_app

CONTENTS = {"ort.wasm.min.mjs": b"export {};" * 99, "ort-wasm-simd-threaded.wasm": bytes(range(256)) * 9}


NAME, VERSION = "@someone/some-runtime", "1.2.3"
ARCHIVE, FOLDER = "someone-some-runtime-1.2.3.tgz", "someone-some-runtime-1.2.3"


@pytest.fixture(scope="module")
def archive():
    """An archive like npm's."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in {**CONTENTS, "ort.all.js": b"not needed"}.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def made(archive):
    """Makes the runtime of that archive, with the hashes that are asked for, in a cache."""
    files = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
    package = Package(NAME, VERSION, "for a test", hashlib.sha512(archive).hexdigest(), files)
    return lambda cache: Runtime(package, folder=cache)


def copied(cache, content):
    """Put an archive where its owner is told to copy it."""
    (cache / FOLDER).mkdir(parents=True)
    (cache / FOLDER / ARCHIVE).write_bytes(content)


def npm(folder, monkeypatch, script):
    """Put an npm before all others in the path, or none anywhere."""
    folder.mkdir()
    if script is not None:
        (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin" if script else str(folder))


def test_npm_brings_it_once(tmp_path, monkeypatch, archive, made):
    (tmp_path / ARCHIVE).write_bytes(archive)
    npm(tmp_path / "bin", monkeypatch, f'echo x >>{tmp_path}/calls; echo "$@" >{tmp_path}/words; '
        f'while [ "$1" != --pack-destination ]; do shift; done; cp {tmp_path / ARCHIVE} "$2"')  # fmt: skip
    for _ in range(2):
        fetched = made(tmp_path / "cache")
        for name, content in CONTENTS.items():
            assert fetched.file(name, packed=False)[0].read_bytes() == content
            assert gzip.decompress(fetched.file(name, packed=True)[0].read_bytes()) == content
        assert fetched.file("ort.all.js", packed=False) is None
        assert fetched.file("../ort.wasm.min.mjs", packed=False) is None
    assert (tmp_path / "calls").read_text() == "x\n"
    assert f"pack {NAME}@{VERSION} --ignore-scripts" in (tmp_path / "words").read_text()
    assert sorted(os.listdir(tmp_path / "cache" / FOLDER)) == sorted(n + e for n in CONTENTS for e in ("", ".gz"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, ["npm, which fetches it, is not installed", f"copy {ARCHIVE} to"]),
        ("echo no network >&2; exit 1", ["no network", f"copy {ARCHIVE} to"]),
        ("exit 0", ["it wrote no file"]),
    ],
)
def test_a_sentence_says_what_to_do_where_npm_does_not_bring_it(tmp_path, monkeypatch, made, script, words):
    npm(tmp_path / "bin", monkeypatch, script)
    missing = made(tmp_path / "cache")
    with pytest.raises(ConfigError) as refused:
        missing.ready()
    assert all(word in str(refused.value) for word in words)
    # Visitors do not make npm run again and again.
    npm(tmp_path / "other", monkeypatch, f"touch {tmp_path}/again")
    with pytest.raises(ConfigError):
        missing.ready()
    assert not (tmp_path / "again").exists()


def test_an_archive_that_was_copied_is_taken_and_one_that_differs_is_not(tmp_path, monkeypatch, archive, made):
    npm(tmp_path / "bin", monkeypatch, None)
    for name, content in (("sound", archive), ("damaged", archive[:-1] + b"?")):
        copied(tmp_path / name, content)
    made(tmp_path / "sound").ready()
    with pytest.raises(ConfigError, match=r"is not .* as npm published it"):
        made(tmp_path / "damaged").ready()


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_was_damaged_in_the_cache_is_unpacked_again(tmp_path, monkeypatch, archive, made, packed):
    npm(tmp_path / "bin", monkeypatch, None)
    copied(tmp_path, archive)
    path, _ = made(tmp_path).file("ort.wasm.min.mjs", packed)
    sound = path.read_bytes()
    path.write_bytes(sound[:-9])
    assert made(tmp_path).file("ort.wasm.min.mjs", packed)[0].read_bytes() == sound


def asked(room, path, **headers):
    request = urllib.request.Request(f"{room.web.address}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def test_the_server_gives_the_files_packed_and_once(tmp_path, archive, made):
    copied(tmp_path / "cache", archive)
    with open_app(tmp_path / "split") as room:
        room.app.state.runtime = made(tmp_path / "cache")
        name = "ort-wasm-simd-threaded.wasm"
        status, headers, body = asked(room, f"/runtime/{name}")
        assert (status, headers["content-type"], body) == (200, "application/wasm", CONTENTS[name])
        _, packed, body = asked(room, f"/runtime/{name}", **{"Accept-Encoding": "gzip, br"})
        assert (packed["content-encoding"], packed["content-type"]) == ("gzip", "application/wasm")
        assert gzip.decompress(body) == CONTENTS[name]
        assert packed["etag"] != headers["etag"]
        assert asked(room, f"/runtime/{name}", **{"If-None-Match": headers["etag"]})[0] == 304
        assert "javascript" in asked(room, "/runtime/ort.wasm.min.mjs")[1]["content-type"]
        for path in ("/runtime/ort.all.js", "/runtime/..%2f..%2fsplit.json", f"/runtime/{ARCHIVE}"):
            assert asked(room, path)[0] == 404


def test_a_room_without_the_runtime_says_so_to_phones(tmp_path, monkeypatch, made):
    npm(tmp_path / "bin", monkeypatch, None)
    with open_app(tmp_path / "split") as room:
        room.app.state.runtime = made(tmp_path / "cache")
        status, _, body = asked(room, "/runtime/ort.wasm.min.mjs")
        assert status == 503
        assert b"npm" in body


def test_a_room_gives_the_certificate_of_its_authority_and_never_the_key(tmp_path):
    from cutlayer.live.trust import authority_beside
    from cutlayer.wire import certs

    for name in ("ours", "theirs"):
        certs.init(tmp_path / name)
    ours = (tmp_path / "ours/ca.pem").read_bytes()
    assert authority_beside(tmp_path / "ours/server.pem") == ours
    (tmp_path / "theirs/ca.pem").write_bytes(ours)
    assert authority_beside(tmp_path / "theirs/server.pem") is None, "it did not sign this certificate"
    (tmp_path / "theirs/ca.pem").write_text("nonsense")
    assert authority_beside(tmp_path / "theirs/server.pem") is None
    (tmp_path / "theirs/ca.pem").unlink()
    assert authority_beside(tmp_path / "theirs/server.pem") is None
    with open_app(tmp_path / "split") as room:
        assert asked(room, "/ca.pem")[0] == 404
        room.app.state.authority = ours
        status, headers, body = asked(room, "/ca.pem")
        assert (status, headers["content-type"], body) == (200, "application/x-x509-ca-cert", ours)
        assert asked(room, "/ca.key")[0] == 404
