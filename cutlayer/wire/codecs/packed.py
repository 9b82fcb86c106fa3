"""Codecs by name, alone or with packings: ``int8``, ``top-k:0.1``, ``raw+shuffle+zstd``.

A name starts with a codec, followed by packings that are applied in this order, joined by ``+``. A value after a colon
is the only option of the codec or the packing before it. Codecs of the user's own are written as everywhere:
``path/to/file.py:Attribute``, with the value after another colon.

On the wire, a codec goes by its own `name`, never by a file or a module: a server decodes with a codec that is not part
of cutlayer only if its operator has named it. What a client writes there imports nothing that was not meant for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from numpy.typing import NDArray

from cutlayer import own
from cutlayer.errors import ConfigError, DecodeError
from cutlayer.registry import CODECS
from cutlayer.wire.codecs.base import DATATYPES, Buffer, Codec, Encoded, Packing, Parameter


class Packed(Codec):
    """A codec whose bytes pass through packings, in order."""

    def __init__(self, codec: Codec, packings: tuple[Packing, ...]) -> None:
        self.codec, self.packings = codec, packings

    @property
    def name(self) -> str:  # type: ignore[override]
        """All names, joined by ``+``."""
        return "+".join((self.codec.name, *(packing.name for packing in self.packings)))

    @property
    def parameters(self) -> tuple[str, ...]:  # type: ignore[override]
        """Parameters of the codec; packings have none."""
        return self.codec.parameters

    @property
    def keeps_rows(self) -> bool:  # type: ignore[override]
        """Whether the codec keeps rows; packings lose nothing."""
        return self.codec.keeps_rows

    def encode(self, array: NDArray[Any]) -> Encoded:
        """Encode the array and pack its bytes."""
        encoded = self.codec.encode(array)
        data, itemsize = encoded.data, _itemsize(encoded)
        for packing in self.packings:
            data = packing.pack(data, itemsize)
        return encoded._replace(data=data, parameters={**encoded.parameters, "codec": self.name})

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """Unpack the bytes and decode them."""
        most_bytes = self.codec.most_bytes(encoded)
        data, itemsize = encoded.data, _itemsize(encoded)
        for packing in reversed(self.packings):
            data = packing.unpack(data, itemsize, most_bytes)
        return self.codec.decode(encoded._replace(data=data))


def codec_named(text: str) -> Codec:
    """Return the codec with this name, from a plan or a command line.

    Raises:
        ConfigError: A name, an option or the order is not valid.
    """
    return _combined(text, [_make(part) for part in parts(text)])


def _combined(text: str, made: list[Codec | Packing]) -> Codec:
    first, *rest = made
    if isinstance(first, Packing):
        raise ConfigError(f"{first.name!r} only packs the bytes of a codec; write raw+{text} instead of {text!r}.")
    packings = tuple(part for part in rest if isinstance(part, Packing))
    if len(packings) < len(rest):
        raise ConfigError(f"{text!r} names two codecs; write one codec, then packings such as zstd.")
    if len({packing.name for packing in packings}) < len(packings):
        raise ConfigError(f"{text!r} names a packing twice; write each packing once.")
    return Packed(first, packings) if packings else first


class Part(NamedTuple):
    """One codec or packing in a text such as ``int8:channel+zstd``: its name, and the value of its option, if any."""

    name: str
    value: str | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value}"


_OPTION = r"(?::(?P<value>[^+]*))?"
_FORMS = [
    re.compile(form + _OPTION)
    for form in (r"(?P<name>.+?\.py:[A-Za-z_]\w*)", r"(?P<name>[A-Za-z_][\w.]*:[A-Za-z_]\w*)")
]
_PLAIN = re.compile(r"(?P<name>[^+:]*)" + _OPTION)


def parts(text: str) -> list[Part]:
    """The codec and the packings that a text names, in order. The path of a file may hold ``+`` as well."""
    found: list[Part] = []
    place = 0
    while place <= len(text):
        match = _PLAIN.match(text, place)
        assert match is not None
        if match["name"] not in set(CODECS):
            forms = (form.match(text, place) for form in _FORMS)
            match = next((m for m in forms if m and m.end() in (len(text), text.find("+", m.end()))), match)
        found.append(Part(match["name"], match["value"]))
        place = match.end() + 1
    return found


def own_codecs(text: str) -> list[str]:
    """The codecs in a text that are not part of cutlayer, for the server that has to decode them."""
    return [part.name for part in parts(text) if CODECS.is_own(part.name)]


def rewritten(text: str, rewrite: Callable[[str], str]) -> str:
    """The text with each name of a codec or a packing rewritten; the values stay."""
    return "+".join(str(part._replace(name=rewrite(part.name))) for part in parts(text))


_admitted: dict[str, str] = {}
"""The codecs of the user's own that this process decodes, by their name on the wire; the last one of each name."""


def admit(name: str) -> None:
    """Decode tensors that name this codec of the user's own from now on.

    Raises:
        ConfigError: There is no such codec, or its name on the wire is that of another one.
    """
    before = dict(_admitted)
    made = _make(Part(name))
    if made.name in before and before[made.name] != _admitted[made.name]:
        raise ConfigError(
            f"{before[made.name]} and {name} are both called {made.name!r} on the wire; admit one of them."
        )


def _note(name: str, made: Codec | Packing) -> None:
    """Remember how a codec of the user's own is called on the wire."""
    wired = getattr(made, "name", None)
    if not isinstance(wired, str) or not re.fullmatch(r"[\w.-]{1,64}", wired):
        raise ConfigError(f"{name} needs an attribute `name`, which states the codec on the wire, such as 'negative'.")
    if wired in set(CODECS):
        raise ConfigError(f"{name} is called {wired!r} on the wire, as another codec is; give it another `name`.")
    name = own.resolved(name, Path.cwd())
    if _admitted.get(wired) != name:
        _admitted[wired] = name
        _codec.cache_clear()


def _make(part: Part) -> Codec | Packing:
    name, value = part
    options: dict[str, Parameter] = {}
    if value is not None:
        accepted = next(iter(CODECS.options(name).values()), None)
        if accepted is None:
            raise ConfigError(f"The codec {name!r} takes no option; write {name!r} instead of {str(part)!r}.")
        try:
            options[accepted.name] = accepted.annotation(value)
        except ValueError:
            raise ConfigError(
                f"The option {accepted.name} of the codec {name!r} must be of type {accepted.annotation.__name__}; "
                f"{value!r} was given."
            ) from None
    made = cast("Codec | Packing", CODECS.make(name, **options))
    if CODECS.is_own(name):
        _note(name, made)
    return made


def _itemsize(encoded: Encoded) -> int:
    return 2 if encoded.datatype == "BF16" else DATATYPES[encoded.datatype].itemsize


def decode(encoded: Encoded) -> NDArray[Any]:
    """Decode with the codec that the tensor names, or as raw if it names none.

    Raises:
        DecodeError: There is no such codec, or the bytes do not match their description.
    """
    return codec_of(encoded).decode(encoded)


def decoder(described: Encoded) -> Callable[[Buffer], NDArray[Any]]:
    """Return `decode` for the bytes of many tensors with one description; see `Codec.decoder`."""
    return codec_of(described).decoder(described)


def codec_of(encoded: Encoded) -> Codec:
    """Return the codec that a tensor names. Raises DecodeError."""
    return _codec(str(encoded.parameters.get("codec", "raw"))[:64])


@lru_cache(maxsize=64)
def _codec(name: str) -> Codec:
    # The decoder does not use options of the encoder, and each value would be another entry in the cache.
    if ":" in name:
        raise DecodeError(f"{name!r} is not a codec; on the wire, options are parameters beside its name.")
    names = name.split("+")
    unknown = [part for part in names if part not in set(CODECS) and part not in _admitted]
    if unknown:
        known = ", ".join([*CODECS, *_admitted])
        raise DecodeError(
            f"There is no codec {unknown[0]!r:.40} here; known: {known}. A server is told of another one with --codec."
        )
    try:
        return _combined(name, [_make(Part(_admitted.get(part, part))) for part in names])
    except ConfigError as error:
        raise DecodeError(str(error)) from None
