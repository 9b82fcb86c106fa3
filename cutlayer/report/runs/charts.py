"""The two charts, as inline SVG: privacy against accuracy, and where the time of a request goes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cutlayer.trace import STAGES


def typical_request(traces: Mapping[str, NDArray[np.int64]], deployment: str) -> dict[str, float] | None:
    """Mean ns of each stage over the tenth of the requests around the median one, so that the stages add up.

    The medians of the stages would not: their sum is no request's time.
    """
    try:
        order = np.argsort(traces[f"{deployment}/end_to_end_ns"], kind="stable")
        middle = order[int(0.45 * len(order)) : max(math.ceil(0.55 * len(order)), 1)]
        means = {stage: float(traces[f"{deployment}/{stage}_ns"][middle].mean()) for stage in STAGES if len(order)}
    except (KeyError, IndexError):
        return None
    return means or None
