"""Image files as inputs of one size: every kind of pixel, turned upright, resized and cropped by one rule.

An image is turned as its EXIF orientation says, laid on white where it is transparent, converted to gray or RGB, scaled
until its shorter side fits (antialiased, bilinear), and cropped in the center. 16-bit gray keeps its precision. Pillow
does the work, and a JPEG is decoded at a fraction of its size where that is enough.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import check_regular
from cutlayer.data.parts import as_images
from cutlayer.data.stored import Unreadable
from cutlayer.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
BACKGROUND = (255, 255, 255, 255)
"""The color on which transparent images are laid."""
MODES = {1: "L", 3: "RGB"}
"""Mode in Pillow by number of channels; gray is the luma of ITU-R 601."""
_DRAFT = 2
"""A JPEG is decoded at least so many times as large as it is needed, so that scaling has enough to average."""


class ImageFiles:
    """The images in files, each read when it is asked for; see `cutlayer.data.stored.Source`.

    Args:
        paths: The files.
        shape: ``(C, H, W)`` of every input; C is 1 or 3.
    """

    def __init__(self, paths: Sequence[Path], shape: tuple[int, ...]) -> None:
        if len(shape) != 3 or shape[0] not in MODES:
            size = "x".join(map(str, shape))
            raise DataError(f"Image files become inputs of 1 or 3 channels, CxHxW; {size} is asked for.")
        self.paths, self.shape = paths, shape
        pillow(paths[0])

    def __getitem__(self, place: int, /) -> NDArray[np.float32]:
        return read_image(self.paths[place], self.shape)


def pillow(path: Path) -> Any:
    """The package that reads image files.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module("PIL.Image")
    except ImportError:
        raise ConfigError(
            f"{path} is an image file, which needs Pillow: pip install 'cutlayer[lab]', or pip install pillow on a "
            "device; an .npz or .npy file needs neither."
        ) from None


def size_of(path: Path) -> tuple[int, int, int] | None:
    """Channels, height and width of an image, turned upright, from its header; None if it cannot be read."""
    try:
        check_regular(path)
        with pillow(path).open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) >= 5  # the orientations that exchange rows and columns
            gray = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
            return (1 if gray else 3, *((width, height) if turned else (height, width)))
    except Exception:  # whatever is wrong with it is said when it is read
        return None


def read_image(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """One image, ``(C, H, W)`` in [0, 1].

    Raises:
        Unreadable: The file is damaged, empty, or no image that Pillow knows.
    """
    channels, height, width = shape
    module = pillow(path)
    try:
        check_regular(path)  # Pillow would wait at a pipe
        with warnings.catch_warnings(), module.open(path) as image:
            # Large photographs are no attack, and a damaged EXIF block spoils no pixel.
            warnings.simplefilter("ignore")
            if image.format == "JPEG":
                side = _DRAFT * max(height, width)
                image.draft(None, (side, side))
            return _fit(_plain(image, channels), height, width)
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, module.DecompressionBombError) as error:
        text = (
            "it is empty" if path.is_file() and path.stat().st_size == 0 else str(error).replace(str(path), path.name)
        )
        name = path.name.encode("utf-8", "backslashreplace").decode()
        raise Unreadable(f"{path.parent.name}/{name}: {text}") from None


def fit(image: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """``(C, h, w)`` -> ``(C, height, width)`` in [0, 1], scaled and cropped as image files are."""
    if image.shape[1:] == (height, width):
        return image
    from PIL import Image

    return np.concatenate([_fit(Image.fromarray(channel), height, width) for channel in image])


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """The same image upright and without transparency: gray or RGB of 8 bits, or gray in float32 in [0, 1]."""
    from PIL import Image, ImageOps

    ImageOps.exif_transpose(image, in_place=True)  # a copy of a large photograph is half of a device's memory
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit gray, in 16 or 32 bits
        values = np.asarray(image, np.float32)
        gray = np.clip(values / np.float32(1 if image.mode == "F" and values.max() <= 1 else 65535), 0, 1)
        if channels == 1:
            return Image.fromarray(gray)
        return Image.fromarray(np.rint(gray * 255).astype(np.uint8)).convert(MODES[channels])
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    return image if image.mode == MODES[channels] else image.convert(MODES[channels])


def _fit(image: Image.Image, height: int, width: int) -> NDArray[np.float32]:
    from PIL import Image, ImageOps

    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    values = np.clip(pixels, 0, 1) if pixels.dtype == np.float32 else as_images(pixels)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))
