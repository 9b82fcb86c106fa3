"""Zstandard, by the `zstandard` package."""

from cutlayer.errors import ConfigError, DecodeError
from cutlayer.wire.codecs.base import Buffer
from cutlayer.wire.codecs.packed import Packing

LEVELS = range(1, 20)
MAX_WINDOW_BYTES = 8 << 20
"""Of a frame that ends too early, for only such a one needs a window: what the levels above use."""


class Zstd(Packing):
    """One Zstandard frame that states the size of its content; packs the bytes of a codec, as in int8+zstd.

    Args:
        level: 1 to 19. More than 3 takes far more time than any network gives back.
    """

    name = "zstd"

    def __init__(self, level: int = 1) -> None:
        if level not in LEVELS:
            raise ConfigError(f"zstd:{level}: levels go from {LEVELS[0]} to {LEVELS[-1]}.")
        try:
            import zstandard  # noqa: F401
        except ImportError:
            raise ConfigError("The codec zstd needs zstandard: pip install 'cutlayer[zstd]'.") from None
        self.level = level

    def pack(self, data: Buffer, itemsize: int) -> Buffer:
        """One frame."""
        import zstandard

        # Made anew each time, for it belongs to one thread at a time.
        return zstandard.ZstdCompressor(level=self.level).compress(data)

    def unpack(self, data: Buffer, itemsize: int, most_bytes: int) -> Buffer:
        """The content of the frame, which says its size before anything is allocated."""
        import zstandard

        try:
            stated = zstandard.get_frame_parameters(data)
            if stated.content_size > most_bytes:
                raise DecodeError(
                    f"The frame holds {_size(stated.content_size)}; the tensor takes {most_bytes} at most."
                )
            decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
            return decompressor.decompress(data, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise DecodeError(f"The bytes are no Zstandard frame: {error}.") from None


def _size(content_size: int) -> str:
    return "an unstated number of bytes" if content_size >= 1 << 63 else f"{content_size} bytes"
