"""Zstandard, by the `zstandard` package."""

from cutlayer.errors import ConfigError, DecodeError
from cutlayer.wire.codecs.base import Buffer, Packing

LEVELS = range(1, 20)
MAX_WINDOW_BYTES = 8 << 20
"""Largest window of a truncated frame, the only kind that needs one; the levels above use no larger window."""


class Zstd(Packing):
    """One Zstandard frame that states the size of its content; packs the bytes of a codec, as in int8+zstd.

    Args:
        level: Compression level, 1 to 19. Levels above 3 take more time than the smaller size saves on any network.
    """

    name = "zstd"

    def __init__(self, level: int = 1) -> None:
        if level not in LEVELS:
            raise ConfigError(f"The option level of zstd must be {LEVELS[0]} to {LEVELS[-1]}; {level} was given.")
        try:
            import zstandard  # noqa: F401
        except ImportError:
            raise ConfigError("The codec zstd needs the package zstandard; run pip install 'cutlayer[zstd]'.") from None
        self.level = level

    def pack(self, data: Buffer, itemsize: int) -> Buffer:
        """Compress the bytes into one frame."""
        import zstandard

        # A new compressor for each call, because one may be used by one thread only.
        return zstandard.ZstdCompressor(level=self.level).compress(data)

    def unpack(self, data: Buffer, itemsize: int, most_bytes: int) -> Buffer:
        """Return the content of a frame, whose stated size is checked before memory is allocated."""
        import zstandard

        try:
            stated = zstandard.get_frame_parameters(data)
            if stated.content_size > most_bytes:
                raise DecodeError(f"The frame holds {_size(stated.content_size)}; the tensor has at most {most_bytes}.")
            decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
            return decompressor.decompress(data, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise DecodeError(f"The bytes are not a Zstandard frame: {error}.") from None


def _size(content_size: int) -> str:
    return "an unstated number of bytes" if content_size >= 1 << 63 else f"{content_size} bytes"
