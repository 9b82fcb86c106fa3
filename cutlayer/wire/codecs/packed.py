"""Codecs by name, alone or with packings: ``int8``, ``top-k:0.1``, ``raw+shuffle+zstd``.

A name starts with a codec, followed by packings that are applied in this order, joined by ``+``. A value after a colon
is the only option of the codec or the packing before it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from numpy.typing import NDArray

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
    first, *rest = (_make(part) for part in text.split("+"))
    if isinstance(first, Packing):
        raise ConfigError(f"{first.name!r} only packs the bytes of a codec; write raw+{text} instead of {text!r}.")
    packings = tuple(part for part in rest if isinstance(part, Packing))
    if len(packings) < len(rest):
        raise ConfigError(f"{text!r} names two codecs; write one codec, then packings such as zstd.")
    if len({packing.name for packing in packings}) < len(packings):
        raise ConfigError(f"{text!r} names a packing twice; write each packing once.")
    return Packed(first, packings) if packings else first


def _make(text: str) -> Codec | Packing:
    name, colon, value = text.partition(":")
    options: dict[str, Parameter] = {}
    if colon:
        accepted = next(iter(CODECS.options(name).values()), None)
        if accepted is None:
            raise ConfigError(f"The codec {name!r} takes no option; write {name!r} instead of {text!r}.")
        try:
            options[accepted.name] = accepted.annotation(value)
        except ValueError:
            raise ConfigError(
                f"The option {accepted.name} of the codec {name!r} must be of type {accepted.annotation.__name__}; "
                f"{value!r} was given."
            ) from None
    return cast("Codec | Packing", CODECS.make(name, **options))


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
    try:
        return codec_named(name)
    except ConfigError as error:
        raise DecodeError(str(error)) from None
