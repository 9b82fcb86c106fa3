"""Frames of a camera or of a video file, read through OpenCV in the device's process."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.data.splits import NO_CLASS
from cutlayer.edge.frames import MOST_BY_DEFAULT, Frame, Sent
from cutlayer.errors import ConfigError, DataError
from cutlayer.spec import TensorSpec

PATIENCE_S = 10.0
"""Longest wait for the next frame of a camera."""


class Camera:
    """A camera by its number, or a video file by its path; see `cutlayer.edge.frames.Frames`.

    A camera goes on whether or not a frame is asked for: a thread reads it, and `take` returns the newest frame. The
    frames of a file are read as they are asked for, and none is skipped.

    Args:
        source: Number of the camera, or path of the file, or anything else that OpenCV opens.
        input: What the head takes: one or three channels.
        count: Number of frames; `MOST_BY_DEFAULT` if None.
        loop: Whether to go on until the run is stopped; a file begins again.
        cv2: The module of OpenCV, or one with the same functions; OpenCV itself if None.

    Attributes:
        total: See `Frames`.
        skipped: See `Frames`.

    Raises:
        ConfigError: OpenCV is not installed, or the head takes no image.
        DataError: The source cannot be opened, or gives no frame.
    """

    def __init__(
        self,
        source: str,
        input: TensorSpec,
        count: int | None,
        *,
        loop: bool = False,
        cv2: Any = None,
    ) -> None:
        if len(input.shape) != 3 or input.shape[0] not in (1, 3):
            raise ConfigError(f"--camera needs a head that takes images with 1 or 3 channels, and this takes {input}.")
        self._cv2 = cv2 or _opencv()
        self._source, self._input, self._loop = source, input, loop
        self._live = source.isdecimal()
        self.total = None if loop else MOST_BY_DEFAULT if count is None else count
        self.skipped, self.due, self.note = 0, "when the camera has given a frame" if self._live else "", ""
        self._capture = self._open()
        self._changed = threading.Condition()
        self._newest: tuple[NDArray[np.uint8], int] | None = None
        self._over = self._closing = False
        self._thread = threading.Thread(target=self._watch, name="camera", daemon=True)
        if self._live:
            self._thread.start()
        frame = self.take(0)
        if frame is None:
            self.close()
            raise DataError(f"{self._named()} gives no frame.")
        self._example = frame.image
        if not self._live:
            self._reopen()

    def example(self) -> NDArray[np.float32]:
        """See `Frames`."""
        return self._example

    def take(self, number: int) -> Frame | None:
        """See `Frames`. Raises DataError if a camera stops."""
        taken = self._newest_frame() if self._live else self._next_frame()
        if taken is None:
            return None
        picture, taken_ns = taken
        # A file's frame is there as soon as it is asked for.
        return Frame(
            Sent(0, number, 0), fitted(picture, self._input, self._cv2), NO_CLASS, taken_ns if self._live else None
        )

    def label(self, number: int) -> int | None:
        """See `Frames`."""
        return NO_CLASS

    def close(self) -> None:
        """See `Frames`."""
        with self._changed:
            self._closing = True
        if self._thread.is_alive():
            self._thread.join(PATIENCE_S)
        self._capture.release()

    def _newest_frame(self) -> tuple[NDArray[np.uint8], int]:
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._over, PATIENCE_S)
            newest, self._newest = self._newest, None
        if newest is None:
            raise DataError(f"{self._named()} gives no more frames.")
        return newest

    def _next_frame(self) -> tuple[NDArray[np.uint8], int] | None:
        there, picture = self._capture.read()
        if not there and self._loop:
            self._reopen()
            there, picture = self._capture.read()
        return (picture, time.monotonic_ns()) if there else None

    def _watch(self) -> None:
        while not self._closing:
            there, picture = self._capture.read()
            with self._changed:
                if there:
                    self.skipped += self._newest is not None
                    self._newest = picture, time.monotonic_ns()
                self._over = not there
                self._changed.notify_all()
                if self._over:
                    return

    def _open(self) -> Any:
        capture = self._cv2.VideoCapture(int(self._source) if self._live else self._source)
        if not capture.isOpened():
            why = ": there is none of this number, or another program uses it" if self._live else ""
            raise DataError(
                f"{self._named()} cannot be opened{why}; give the number of a camera, or the path of a video."
            )
        return capture

    def _reopen(self) -> None:
        self._capture.release()
        self._capture = self._open()

    def _named(self) -> str:
        return f"The camera {self._source}" if self._live else self._source


def fitted(picture: NDArray[np.uint8], input: TensorSpec, cv2: Any = None) -> NDArray[np.float32]:
    """Make a camera's frame the input of a head, ``(1, C, H, W)`` in [0, 1] in the order red, green, blue.

    Args:
        picture: ``(H, W, 3)`` in the order blue, green, red, as OpenCV gives it.
        input: What the head takes: `Manifest.input`, with one or three channels.
        cv2: See `Camera`.

    Raises:
        ConfigError: OpenCV is not installed.
    """
    cv2, (channels, height, width) = cv2 or _opencv(), input.shape
    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB)
    # The shorter side decides, so that nothing is distorted; what is left over at the longer one is cut off evenly.
    scale = max(height / picture.shape[0], width / picture.shape[1])
    tall, wide = (max(least, round(side * scale)) for side, least in zip(picture.shape, (height, width), strict=False))
    if scale != 1:
        picture = cv2.resize(picture, (wide, tall), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (tall - height) // 2, (wide - width) // 2
    picture = picture[top : top + height, left : left + width].reshape(height, width, channels)
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            f"--camera needs OpenCV, which cannot be imported here ({error}); `pip install opencv-python-headless`."
        ) from None
    return cv2
