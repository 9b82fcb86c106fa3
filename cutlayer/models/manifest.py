"""`split.json`: what the two halves are, and the hash by which each side knows the other's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cutlayer.bounded import MOST_TEXT_BYTES, opened, read_json, reason
from cutlayer.errors import ConfigError, SplitError
from cutlayer.foreign import shown
from cutlayer.models import claims
from cutlayer.records.files import write_text
from cutlayer.registry import MODELS, Registry
from cutlayer.spec import TensorSpec

MANIFEST = "split.json"
HEAD_ONNX, TAIL_ONNX = (f"{half}.onnx" for half in ("head", "tail"))
HEAD_WEIGHTS, TAIL_WEIGHTS = (f"{half}.safetensors" for half in ("head", "tail"))
TOKENIZER = "tokenizer.json"
"""From text to tokens, in the format of the library tokenizers; only where the head takes tokens."""
TOKENS = "tokens"
"""The name of the input of a head that takes sequences of tokens."""
LEARNED = "defense.safetensors"
"""The arrays that the defense learned and the device needs; only where there are such arrays."""
FORMAT, FORMAT_OF_ENDS = 1, 2
"""Format of `split.json`, and of one with `Ends`, which an older program refuses."""


@dataclass(frozen=True)
class Ends:
    """The tensors of a split that has others than an image, smashed data and logits, by name; each of one sample.

    Attributes:
        head: Inputs of the head: data, and state.
        tail: Inputs of the tail beside the smashed data, which are sent as they are, undefended.
        kept: Outputs of the head beside the smashed data, which stay on the device.
        answers: Outputs of the tail. Here and in `kept`, a length is -1 where it depends on the data.
        state: Inputs that take what an output of the request before gave, zeros at first: input name to output name.
            The device keeps them all; those of the tail come with the answer and are sent back with the next request.
    """

    head: dict[str, TensorSpec]
    tail: dict[str, TensorSpec]
    kept: dict[str, TensorSpec]
    answers: dict[str, TensorSpec]
    state: dict[str, str]

    @property
    def alone(self) -> bool:
        """Whether the server computes one sample at a time, because the shape of an answer depends on the data."""
        return any(-1 in spec.shape for spec in self.answers.values())

    @classmethod
    def from_json(cls, data: Any) -> Ends:
        """Undo `dataclasses.asdict`. Raises ValueError, with the reason."""
        stated = claims.table(data, "ends", ("head", "tail", "kept", "answers", "state"))
        head, tail = (claims.specs(stated[name], name) for name in ("head", "tail"))
        kept, answers = (claims.specs(stated[name], name, open=True) for name in ("kept", "answers"))
        if not head or not answers:
            raise ValueError("ends has no input of the head, or no answer")
        return cls(head, tail, kept, answers, claims.names_of_state(stated["state"], head | tail, kept | answers))


@dataclass(frozen=True)
class Manifest:
    """`split.json`: what the two halves are, and the hash by which each side knows the other's.

    Attributes:
        model: Name in `cutlayer.registry.MODELS`, or of the ONNX file that was cut, ``.onnx`` included.
        cut: Where the model is cut, as `cutlayer cuts` prints it.
        classes: Outputs of the tail.
        input: What the head takes, without the batch axis.
        smashed: What the head gives.
        defense: ``{"name": ..., **options}`` of what the device runs on its activations, perhaps with `then`.
        data: Name of the data set that the model was trained on, or None.
        files: File name to SHA-256, for each file beside the manifest.
        sources: SHA-256 of each source file of the user's own that the halves or the defense need, by name.
        mean: Normalization inside the head, see `cutlayer.models.start`; empty where it follows from the model's name.
        std: Likewise.
        ends: What goes in and comes out where that is more than an image, smashed data and logits; None otherwise.
        sequence: Whether the first axis of the input and of the smashed data is that of a sequence: its length is the
            greatest one, and a request may be shorter.
        version: Hash over all of the above: equal on both sides or the handshake is refused.
    """

    model: str
    cut: str
    classes: int
    input: TensorSpec
    smashed: TensorSpec
    defense: dict[str, Any]
    data: str | None
    files: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    ends: Ends | None = None
    sequence: bool = False

    @property
    def data_inputs(self) -> dict[str, TensorSpec]:
        """What a request is made of, by name: all inputs of both halves that are no state."""
        if self.ends is None:
            return {TOKENS if self.sequence else "image": self.input}
        return {name: spec for name, spec in (self.ends.head | self.ends.tail).items() if name not in self.ends.state}

    @property
    def length(self) -> int | None:
        """Greatest length of a sequence; None where the head takes no sequences."""
        return self.input.shape[0] if self.sequence else None

    @property
    def answers(self) -> dict[str, TensorSpec]:
        """What the tail gives, by name."""
        return {"logits": TensorSpec((self.classes,))} if self.ends is None else self.ends.answers

    @property
    def beside(self) -> dict[str, TensorSpec]:
        """What is sent beside the smashed data, by name."""
        return {} if self.ends is None else self.ends.tail

    @property
    def version(self) -> str:
        """16 hex digits that both sides state at the handshake."""
        text = json.dumps(self._stated(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _stated(self) -> dict[str, Any]:
        """The fields, without those that older folders lack where they are empty."""
        absent = ("sources", "mean", "std", "ends", "sequence")
        return {key: value for key, value in asdict(self).items() if value or key not in absent}

    def save(self, folder: Path) -> None:
        """Write `split.json` into the folder, last of its files."""
        stated = json.loads(json.dumps(self._stated()))
        try:
            self.from_json(stated)
        except ValueError as error:
            raise SplitError(f"{folder} cannot be written as a split folder: {reason(error)}.") from None
        format = FORMAT_OF_ENDS if self.ends else FORMAT
        text = json.dumps({"format": format, "version": self.version, **stated}, indent=2)
        write_text(folder / MANIFEST, text + "\n")

    @classmethod
    def from_json(cls, data: Any) -> Manifest:
        """A manifest whose claims are within bounds, from the content of `split.json`.

        Raises:
            ValueError: A claim is missing, of the wrong kind or out of bounds; the text is the reason.
        """
        stated = claims.table(data, MANIFEST, ("model", "cut", "classes", "input", "smashed", "defense", "files"))
        classes = claims.whole(stated["classes"], "classes", 0, claims.MOST_ELEMENTS)
        ends = None if stated.get("ends") is None else Ends.from_json(stated["ends"])
        if not classes and ends is None:
            raise ValueError("classes is 0, which needs ends")
        mean, std = (claims.numbers(stated.get(name, []), name) for name in ("mean", "std"))
        if std and min(std) <= 0:
            raise ValueError(f"std has the number {min(std):g}, and a deviation is above 0")
        return cls(
            claims.text(stated["model"], "model"),
            claims.text(stated["cut"], "cut"),
            classes,
            claims.spec(stated["input"], "input"),
            claims.spec(stated["smashed"], "smashed"),
            claims.defense(stated["defense"]),
            claims.optional(claims.text, stated.get("data"), "data"),
            claims.files(stated["files"]),
            claims.sources(stated.get("sources", {})),
            mean,
            std,
            ends,
            claims.sequence(stated.get("sequence", False), stated["input"], stated["smashed"]),
        )

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read `split.json`.

        Raises:
            SplitError: The folder is no split folder, or the manifest is damaged.
        """
        path = Path(folder) / MANIFEST
        try:
            data = read_json(path, MOST_TEXT_BYTES)
            manifest = cls.from_json(data)
        except (FileNotFoundError, NotADirectoryError):
            raise SplitError(
                f"{folder} is no split folder: it has no {MANIFEST}; make one with `cutlayer split`."
            ) from None
        except OSError as error:
            raise SplitError(
                f"{path} cannot be read: {reason(error)}; see who owns it, or copy the folder again."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SplitError(
                f"{path} is damaged ({reason(error)}); make the folder again with `cutlayer split`."
            ) from None
        if (
            data.get("format") != (FORMAT_OF_ENDS if manifest.ends else FORMAT)
            or data.get("version") != manifest.version
        ):
            raise SplitError(f"{path} is damaged or of another format; make the folder again with `cutlayer split`.")
        return manifest

    def verify(self, folder: Path, *names: str) -> None:
        """Check that the named files are present and are the ones that the manifest was written for.

        Raises:
            SplitError: A file is missing, differs, or is a link that leads out of the folder.
        """
        for name in names:
            path = Path(folder) / name
            if name not in self.files or not path.exists():
                raise SplitError(f"{path} is missing; copy it from the folder that `cutlayer split` wrote.")
            # Links within the folder are how some systems replace all files at once.
            if not path.resolve().is_relative_to(Path(folder).resolve()):
                raise SplitError(f"{path} is a link that leads out of the folder; copy the file itself there.")
            try:
                digest = sha256(path)
            except OSError as error:
                raise SplitError(f"{path} cannot be read: {reason(error)}; copy the whole folder again.") from None
            if digest != self.files[name]:
                raise SplitError(
                    f"{path} is not the file that {MANIFEST} was written for; copy the whole folder again."
                )

    def verify_source(self, registry: Registry, name: str) -> None:
        """Check that something of the user's own is found here, and is what the folder was made with.

        Raises:
            SplitError: It is not found, or its source file differs.
        """
        if not registry.is_own(name):
            return
        if name not in self.sources:
            raise SplitError(
                f"{MANIFEST} names the {registry.kind} {name} without the hash of its file, and nothing is imported "
                "without one; make the folder again with `cutlayer split`."
            )
        try:
            found = registry.digest(name)
        except ConfigError as error:
            raise SplitError(f"The split needs the {registry.kind} {registry.label(name)}. {error}") from None
        if found != self.sources[name]:
            raise SplitError(
                f"{name.rpartition(':')[0]} has changed since the split was made with the {registry.kind} "
                f"{registry.label(name)}; bring the older file back, or make the folder again with `cutlayer split`."
            )


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tail_name(manifest: Manifest) -> str:
    """What the tail of a split is called on the wire: ``vgg11_bn@features.7``.

    It is in every log, and must be a text that UTF-8 can hold, so it is shown as `cutlayer.foreign` does.
    """
    return shown(f"{MODELS.label(manifest.model)}@{manifest.cut}", most=None)
