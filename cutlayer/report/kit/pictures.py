"""Pictures for the page: strips of small images, side by side, as data URIs."""

import base64
import io
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cutlayer.report.kit.markup import Html, el, small

LOSSLESS_SIDE = 96
"""Pixels of a side up to which pictures are enlarged on the page, and kept to the bit; larger ones are photographs."""
QUALITY = 92
"""WebP's quality of photographs."""


def choose(labels: NDArray[np.int64], available: int, count: int) -> list[int]:
    """Which pictures to show: one of each class before a second of any, in the order of the record."""
    seen: Counter[int] = Counter()
    turns = []
    for index in range(available):
        label = int(labels[index]) if index < len(labels) else 0
        turns.append((seen[label], index))
        seen[label] += 1
    return sorted(index for _, index in sorted(turns)[:count])


def strip(images: NDArray[np.uint8], indices: Sequence[int], alt: str, most_side: int | None = None) -> Html:
    """Some of the images side by side, in one `img` that is enlarged without smoothing.

    Args:
        images: ``(K, C, H, W)`` uint8; grey when C is 1 or 2, else the first three channels.
        indices: Numbers of the images to show.
        alt: What the pictures are, for those who do not see them.
        most_side: Pixels of a side at most; larger pictures are scaled down. No limit when None.
    """
    chosen = images[list(indices)]
    if most_side is not None and max(chosen.shape[2:]) > most_side:
        chosen = _smaller(chosen, most_side)
    n, channels, height, width = chosen.shape
    gap = max(1, width // 12)
    sheet = np.zeros((height, n * (width + gap) - gap, 4), np.uint8)
    for i, image in enumerate(chosen):
        left = i * (width + gap)
        colors = image[:3] if channels >= 3 else image[[0, 0, 0]]
        sheet[:, left : left + width, :3] = colors.transpose(1, 2, 0)
        sheet[:, left : left + width, 3] = 255
    file = io.BytesIO()
    if max(height, width) > LOSSLESS_SIDE:
        kind = "webp"
        Image.fromarray(sheet).save(file, "WEBP", quality=QUALITY, method=4)
    else:
        kind = "png"
        Image.fromarray(sheet).save(file, "PNG")
    source = f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return el(
        "img",
        class_="strip photo" if kind == "webp" else "strip",
        src=source,
        alt=alt,
        width=sheet.shape[1],
        height=height,
    )


def _smaller(images: NDArray[np.uint8], most_side: int) -> NDArray[np.uint8]:
    """Pictures whose longer side has so many pixels, each channel by the mean of an area."""
    height, width = images.shape[2:]
    scale = most_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.stack(
        [[np.asarray(Image.fromarray(channel).resize(size, Image.Resampling.BOX)) for channel in im] for im in images]
    )


def beside(name: str, note: str, drawn: Html) -> Html:
    """Pictures, or other inputs, beside their name and a second line."""
    return el("div", el("div", name, small(note)), drawn, class_="picture-row")
