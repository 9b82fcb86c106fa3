"""Codecs by name, and bytes packed further: ``int8``, ``top-k:0.1``, ``raw+shuffle+zstd``.

A name is that of a codec, then those of packings, joined by ``+`` and applied in this order. A value after a colon is
the codec's or the packing's one option.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from numpy.typing import NDArray

from cutlayer.errors import ConfigError, DecodeError
from cutlayer.registry import CODECS
from cutlayer.wire.codecs.base import DATATYPES, Buffer, Codec, Encoded, Parameter


class Packing:
    """Base of what makes the bytes of any codec fewer, without loss."""

    name: str
    """As in `cutlayer.registry.CODECS`."""

    sends_zeros = False

    def pack(self, data: Buffer, itemsize: int) -> Buffer:
        """The bytes to send for these, which are numbers of `itemsize` bytes for the greatest part."""
        raise NotImplementedError(f"{type(self).__name__} lacks pack()")

    def unpack(self, data: Buffer, itemsize: int, most_bytes: int) -> Buffer:
        """Undo `pack`.

        Raises:
            DecodeError: The bytes are none that `pack` makes, or would become more than `most_bytes`.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks unpack()")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


class Packed(Codec):
    """A codec, and what its bytes are packed with, in order."""

    def __init__(self, codec: Codec, packings: tuple[Packing, ...]) -> None:
        self.codec, self.packings = codec, packings

    @property
    def name(self) -> str:  # type: ignore[override]
        """All names, joined by ``+``."""
        return "+".join((self.codec.name, *(packing.name for packing in self.packings)))

    def encode(self, array: NDArray[Any]) -> Encoded:
        """What the codec makes of the array, packed."""
        encoded = self.codec.encode(array)
        data, itemsize = encoded.data, _itemsize(encoded)
        for packing in self.packings:
            data = packing.pack(data, itemsize)
        return encoded._replace(data=data, parameters={**encoded.parameters, "codec": self.name})

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        """What the codec makes of the unpacked bytes."""
        most_bytes = self.codec.most_bytes(encoded)
        data, itemsize = encoded.data, _itemsize(encoded)
        for packing in reversed(self.packings):
            data = packing.unpack(data, itemsize, most_bytes)
        return self.codec.decode(encoded._replace(data=data))


def codec_named(text: str) -> Codec:
    """The codec of a plan or a command line.

    Raises:
        ConfigError: A name or an option is wrong, or the order is.
    """
    first, *rest = (_make(part) for part in text.split("+"))
    if isinstance(first, Packing):
        raise ConfigError(f"{first.name} packs the bytes of a codec; write raw+{text}, say, not {text!r}.")
    packings = tuple(one for one in rest if isinstance(one, Packing))
    if len(packings) < len(rest):
        raise ConfigError(f"{text!r} names two codecs; one comes first, and packings such as zstd after it.")
    if len({packing.name for packing in packings}) < len(packings):
        raise ConfigError(f"{text!r} packs the same way twice.")
    return Packed(first, packings) if packings else first


def _make(text: str) -> Codec | Packing:
    name, colon, value = text.partition(":")
    options: dict[str, Parameter] = {}
    if colon:
        accepted = next(iter(CODECS.options(name).values()), None)
        if accepted is None:
            raise ConfigError(f"The codec {name!r} has no option, so {text!r} says too much.")
        try:
            options[accepted.name] = accepted.annotation(value)
        except ValueError:
            raise ConfigError(f"{text}: {accepted.name} must be of type {accepted.annotation.__name__}.") from None
    return cast("Codec | Packing", CODECS.make(name, **options))


def _itemsize(encoded: Encoded) -> int:
    return 2 if encoded.datatype == "BF16" else DATATYPES[encoded.datatype].itemsize


def decode(encoded: Encoded) -> NDArray[Any]:
    """Decode with the codec that the tensor names; one that names none is raw.

    Raises:
        DecodeError: There is no such codec, or the bytes are not what their description says.
    """
    return _codec_of(encoded).decode(encoded)


def decoder(described: Encoded) -> Callable[[Buffer], NDArray[Any]]:
    """`decode` for the bytes of many tensors of one description; see `Codec.decoder`."""
    return _codec_of(described).decoder(described)


def _codec_of(encoded: Encoded) -> Codec:
    return _codec(str(encoded.parameters.get("codec", "raw"))[:64])


@lru_cache(maxsize=64)
def _codec(name: str) -> Codec:
    # Not above: it is made of what this module defines.
    from cutlayer.wire.codecs.packed import codec_named

    # Settings of the encoder are no business of the decoder, and each would be another name to remember.
    if ":" in name:
        raise DecodeError(f"{name!r} is no codec; on the wire its options are parameters of their own.")
    try:
        return codec_named(name)
    except ConfigError as error:
        raise DecodeError(str(error)) from None
