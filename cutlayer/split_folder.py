"""The split folder, opened: manifest, head, tail and what the defense learned.

This is the only place that reads `split.json` and opens a half. Every file is compared with its hash in the manifest
before it is used, so that what runs is what `cutlayer split` wrote.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import reason
from cutlayer.data.text import Tokenizer, open_tokenizer
from cutlayer.errors import ConfigError, SplitError
from cutlayer.machine.files import writing
from cutlayer.models.files import new_folder
from cutlayer.models.manifest import (
    HEAD_ONNX,
    HEAD_WEIGHTS,
    LEARNED,
    MANIFEST,
    TAIL_ONNX,
    TAIL_WEIGHTS,
    TOKENIZER,
    Manifest,
    sha256,
)
from cutlayer.onnx.external import external_files
from cutlayer.onnx.session import open_half
from cutlayer.tensors import chosen, join, parts, zeros

if TYPE_CHECKING:
    from cutlayer.models.halves import SplitModel

BATCH = 16
"""Images that the whole model computes at a time, so that its memory stays small."""

Runtime = Literal["onnx", "torch"]

Half = Callable[[NDArray[Any]], NDArray[Any]]
"""A head, ``(N, *input.shape)`` to ``(N, *smashed.shape)``, or a tail, ``(N, *smashed.shape)`` to ``(N, classes)``.

Where a split has `Ends`, a batch of several tensors is joined by `cutlayer.tensors.join`. A head then takes all that a
request is made of, and state, which is zero where it is left out.
"""


@dataclass(frozen=True)
class SplitFolder:
    """A split folder whose manifest has been read.

    Attributes:
        path: The folder.
        manifest: The content of its `split.json`.
        in_memory: The halves in torch, where the code of the model is known to this process only.
    """

    path: Path
    manifest: Manifest
    in_memory: SplitModel | None = None

    @property
    def has_tail(self) -> bool:
        """Whether the folder holds a tail for ONNX Runtime; a device needs none."""
        return (self.path / TAIL_ONNX).exists()

    @property
    def head_file_bytes(self) -> int:
        """Size of the head's file for ONNX Runtime."""
        return (self.path / HEAD_ONNX).stat().st_size

    @property
    def tail_file_bytes(self) -> int | None:
        """Size of the tail's file for ONNX Runtime; None where the folder holds none."""
        return (self.path / TAIL_ONNX).stat().st_size if self.has_tail else None

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What makes tokens of text, its file verified; None where there is none."""
        return open_tokenizer(self.file(TOKENIZER)) if TOKENIZER in self.manifest.files else None

    @property
    def has_halves(self) -> bool:
        """Whether both halves are there in torch; of what was cut from an ONNX file they are not."""
        return self.in_memory is not None or HEAD_WEIGHTS in self.manifest.files

    def head(self, runtime: Runtime = "onnx", threads: int = 1) -> Half:
        """Open the head.

        Args:
            runtime: What computes it; ``onnx`` needs no torch.
            threads: Threads that compute one batch; in torch a setting of the whole process.

        Raises:
            ConfigError: The runtime is not installed.
            SplitError: A file is missing, differs from its hash, or is no head.
        """
        if runtime == "torch":
            return _in_torch(self, "head", threads)
        manifest, gives = self.manifest, self.manifest.smashed
        if manifest.defense["name"] != "none":
            # A defense may send less than the head gives: MID's head gives means and deviations of what is sent.
            gives = replace(gives, shape=(-1,) * len(gives.shape))
        if manifest.ends is None:
            return open_half(self.file(HEAD_ONNX), threads, manifest.data_inputs, {"smashed": gives})
        ends = manifest.ends
        # The data comes first, as a batch that is not joined is that.
        takes = {name: spec for name, spec in ends.head.items() if name not in ends.state} | ends.head
        return open_half(self.file(HEAD_ONNX), threads, takes, {"smashed": gives} | ends.kept, ends.state)

    def tail(self, runtime: Runtime = "onnx", threads: int | None = None) -> Half:
        """Open the tail; see `head`. With `threads` None all cores compute one batch."""
        if runtime == "torch":
            return _in_torch(self, "tail", threads)
        manifest = self.manifest
        takes = {"smashed": manifest.smashed} | manifest.beside
        return open_half(self.file(TAIL_ONNX), threads, takes, manifest.answers)

    def model(self, threads: int = 1) -> Half:
        """The whole model in this process: the head, then the tail, with no defense in between."""
        head, tail = self.head(threads=threads), self.tail(threads=threads)
        return whole(head, tail, self.manifest)

    def answers(self, inputs: NDArray[np.float32], threads: int = 1) -> NDArray[np.int64]:
        """The class that the whole model gives to each input: ``(N, *input.shape)`` to ``(N,)``."""
        model = self.model(threads)
        step = 1 if self.manifest.ends and self.manifest.ends.alone else BATCH
        return np.concatenate([chosen(model(inputs[i : i + step])) for i in range(0, len(inputs), step)])

    def halves(self) -> SplitModel:
        """Both halves in torch, on the CPU and in eval mode.

        Raises:
            SplitError: The folder has no halves in torch, or a file is missing, damaged or does not fit the model.
        """
        if self.in_memory is not None:
            from cutlayer.models.halves import copied

            return copied(self.in_memory)
        if not self.has_halves:
            raise SplitError(
                f"{self.path} has no halves in torch, only in ONNX: it was cut from an ONNX file or from a module of "
                "another program, or its head computes in int8; use --head onnx and --tail onnx."
            )
        from cutlayer.models.folder import rebuild

        self.manifest.verify(self.path, HEAD_WEIGHTS, TAIL_WEIGHTS)
        return rebuild(self.path, self.manifest)

    def learned(self) -> dict[str, NDArray[Any]]:
        """The arrays that the defense learned and the device needs; empty where there are none.

        Raises:
            SplitError: The file is missing, differs from its hash, or holds anything but arrays of finite numbers.
        """
        if LEARNED not in self.manifest.files:
            return {}
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self.file(LEARNED)
        try:
            arrays: dict[str, NDArray[Any]] = load_file(path)
        except (SafetensorError, ValueError, KeyError) as error:
            raise SplitError(
                f"{path} is damaged ({reason(error)}); make the folder again with `cutlayer split`."
            ) from None
        if not all(array.dtype.kind in "biuf" and np.isfinite(array).all() for array in arrays.values()):
            raise SplitError(f"{path} holds what is no finite number; make the folder again with `cutlayer split`.")
        return arrays

    def with_head(self, out: Path, write_head: Callable[[Path], None]) -> Manifest:
        """Write a split folder that differs from this one in its head, and has no halves in torch.

        Args:
            out: The new folder; a split folder of that name is replaced.
            write_head: Writes the new head to the path that it is given.

        Raises:
            SplitError: A file of this folder is damaged, or `out` exists and holds something else.
            WriteError: `out` or the temporary file of the new head cannot be written.
        """
        replaced = (HEAD_ONNX, HEAD_WEIGHTS, TAIL_WEIGHTS)
        unchanged = [name for name in self.manifest.files if name not in replaced]
        with tempfile.TemporaryDirectory(prefix="cutlayer-") as scratch:
            head = Path(scratch) / HEAD_ONNX
            with writing(head):
                write_head(head)
            with new_folder(out) as part:
                shutil.copyfile(head, part / HEAD_ONNX)
                for name in unchanged:
                    shutil.copyfile(self.file(name), part / name)
                files = {name: sha256(part / name) for name in (HEAD_ONNX, *unchanged)}
                manifest = replace(self.manifest, files=files)
                manifest.save(part)
        return manifest

    def file(self, name: str) -> Path:
        """The path of one file of the folder, its content compared with its hash, and so that of the files it takes.

        Raises:
            SplitError: The file, or one in which it keeps weights, is missing, lies elsewhere or differs from its hash.
        """
        self.manifest.verify(self.path, name)
        path = self.path / name
        if path.suffix == ".onnx":
            try:
                others = external_files(path)
            except (OSError, ValueError) as error:
                raise SplitError(f"{path} cannot be read: {reason(error)}; copy the whole folder again.") from None
            for other in sorted(others):
                if other not in self.manifest.files:
                    raise SplitError(
                        f"{path} keeps weights in {other!r}, for which {MANIFEST} has no hash; make the folder again "
                        "with `cutlayer split`."
                    )
            self.manifest.verify(self.path, *sorted(others))
        return path


def _in_torch(split: SplitFolder, half: Literal["head", "tail"], threads: int | None) -> Half:
    try:
        from cutlayer.models.folder import computed_by
    except ImportError:
        raise ConfigError(f"Torch is not installed; install cutlayer[lab], or use the onnx {half}.") from None
    return computed_by(getattr(split.halves(), half), threads)


def only_smashed(head: Half) -> Half:
    """The head without the outputs that stay on the device, and with all state zero, as attacks see it."""
    return lambda inputs: parts(head(inputs), "smashed")["smashed"]


def whole(head: Half, tail: Half, manifest: Manifest) -> Half:
    """The model of which these are the halves, with all state zero; its outputs are joined where there are several."""
    ends = manifest.ends
    if ends is None:
        return lambda inputs: tail(head(inputs))
    (image, *_), (answer, *_) = manifest.data_inputs, ends.answers

    def run(inputs: NDArray[Any]) -> NDArray[Any]:
        data, kept = parts(inputs, image), parts(head(inputs), "smashed")
        beside = {name: data.get(name, zeros(spec, len(inputs))) for name, spec in ends.tail.items()}
        answers = parts(tail(join({"smashed": kept.pop("smashed"), **beside})), answer)
        return join(kept | answers)

    return run


def open_split(folder: Path) -> SplitFolder:
    """Read the manifest of a split folder.

    Raises:
        SplitError: The folder is no split folder, or its manifest is damaged.
    """
    return SplitFolder(Path(folder), Manifest.load(folder))
