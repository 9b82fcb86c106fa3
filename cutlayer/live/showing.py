"""How a room shows what devices say and what attackers make of it: pictures, or sentences token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.words import Piece, pieces, written
from cutlayer.live.device import Read, Rebuilt
from cutlayer.live.pictures import bytes_of, data_url
from cutlayer.sequences import PAD


class Showing(Protocol):
    """The inputs of one kind, as a page takes them."""

    def kept(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Inputs in the form in which devices share their originals."""

    def original(self, original: NDArray[Any]) -> Any:
        """An original as it stands in a message."""

    def candidate(self, original: NDArray[Any]) -> dict[str, Any]:
        """The same as a candidate of a watch list."""

    def made(self, name: str, made: NDArray[Any], original: NDArray[Any] | None, n: int) -> Rebuilt | Read:
        """What an attacker made of a frame of `n` places, scored where the original is known."""


class Pictures:
    """Images in [0, 1].

    Args:
        images: The attackers' own, ``(N, C, H, W)``; their mean is what an attacker knows without a frame.
    """

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._mean = images.mean(0)

    def kept(self, inputs: NDArray[Any]) -> NDArray[np.uint8]:
        """See `Showing`."""
        return bytes_of(inputs)

    def original(self, original: NDArray[Any]) -> str:
        """See `Showing`."""
        return data_url(original)

    def candidate(self, original: NDArray[Any]) -> dict[str, Any]:
        """See `Showing`."""
        return {"picture": data_url(original)}

    def made(self, name: str, made: NDArray[Any], original: NDArray[Any] | None, n: int) -> Rebuilt:
        """See `Showing`."""
        gain = psnr = None
        image = np.nan_to_num(made)
        if original is not None:
            true = original.astype(np.float32) / 255
            error = float(np.square(image - true).mean())
            usual = float(np.square(self._mean - true).mean())
            gain = round(1 - error / max(usual, 1e-9), 4)
            psnr = round(float(-10 * np.log10(max(error, 1e-10))), 2)
        return Rebuilt(name, data_url(bytes_of(image)), gain, psnr)


class Sentences:
    """Sentences of tokens.

    Args:
        words: The token of each id, as the vocabulary writes it.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._pieces = pieces(words)

    def kept(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """See `Showing`."""
        return inputs

    def original(self, original: NDArray[Any]) -> list[list[Any]]:
        """Text of each token, and whether it continues the word before it."""
        return [[piece.text, piece.glued] for i in original if i != PAD and (piece := self._piece(int(i))).says]

    def candidate(self, original: NDArray[Any]) -> dict[str, Any]:
        """See `Showing`."""
        return {"sentence": written(self._pieces, [int(i) for i in original if i != PAD])}

    def made(self, name: str, made: NDArray[Any], original: NDArray[Any] | None, n: int) -> Read:
        """See `Showing`. A mark that stands in every sentence, such as [CLS], is not read and does not count.

        Nor does a word that the vocabulary lacks: whoever reads its token knows that there was a word, and not which.
        """
        tokens, right, of, unknown = list[tuple[str, bool, bool | None]](), 0, 0, 0
        for place, guess in enumerate(made[:n].tolist()):
            piece = self._piece(int(guess))
            true = None if original is None else int(original[place])
            if true == PAD or not (piece.says if true is None else self._piece(true).says):
                continue
            is_unknown = true is not None and not self._piece(true).counts
            is_right = None if true is None or (is_unknown and guess == true) else true == guess
            tokens.append((piece.text, piece.glued, is_right))
            right, of, unknown = right + bool(is_right), of + (not is_unknown), unknown + is_unknown
        return Read(name, tuple(tokens), None if original is None else right, of, unknown)

    def _piece(self, id: int) -> Piece:
        return self._pieces[id] if 0 < id < len(self._pieces) else Piece("", glued=False, says=True)
