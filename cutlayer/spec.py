"""What one sample of a tensor is: shape, type and range. Nothing here imports torch."""

from dataclasses import dataclass
from math import prod

import numpy as np

from cutlayer.errors import ConfigError

_MOST_SIDE, _MOST_ELEMENTS = 65_536, 1 << 28


@dataclass(frozen=True)
class TensorSpec:
    """One sample of a tensor, without the batch axis.

    Attributes:
        shape: Lengths of the axes; ``(C, H, W)`` of an image.
        dtype: Name of the type in numpy: ``float32`` for all but the ids of tokens, which are ``int64``.
        low: Least value that can occur; None if unbounded.
        high: Greatest value that can occur; None if unbounded.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: float | None = None
    high: float | None = None

    @property
    def size(self) -> int:
        """Number of elements in one sample."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of one sample, uncompressed."""
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def is_tokens(self) -> bool:
        """Whether one sample is a sequence of the ids of tokens, of which `shape` states the greatest length."""
        return self.dtype == "int64" and len(self.shape) == 1

    @property
    def described(self) -> str:
        """The shape, and whether the numbers are ids of tokens, for messages."""
        return f"{self} ids of tokens" if self.is_tokens else str(self)

    def __str__(self) -> str:
        return "x".join(map(str, self.shape))


def image_spec(channels: int, height: int, width: int) -> TensorSpec:
    """The specification of an image: float32 in [0, 1]."""
    return TensorSpec((channels, height, width), "float32", 0.0, 1.0)


def token_spec(length: int, vocabulary: int) -> TensorSpec:
    """The specification of a sentence: at most so many ids of tokens, each below the size of the vocabulary."""
    return TensorSpec((length,), "int64", 0, vocabulary - 1)


def input_shape(text: str) -> tuple[int, ...]:
    """The ``(C, H, W)`` that a text states, such as ``3x32x32``, or the greatest length ``(T,)`` of sentences: ``64``.

    Raises:
        ConfigError: It is of another form.
    """
    try:
        shape = tuple(map(int, text.split("x")))
    except ValueError:
        shape = ()
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise ConfigError(
            f"A shape has the form CxHxW, such as 3x32x32, or is the greatest length of sentences, such as 64; "
            f"{text!r:.80} was given."
        )
    if max(shape) > _MOST_SIDE or prod(shape) > _MOST_ELEMENTS:
        raise ConfigError(
            f"A shape has at most {_MOST_SIDE:,} on each side and {_MOST_ELEMENTS:,} in all; {text!r:.80} was given."
        )
    return shape
