"""What a client keeps from one update to the next, in the dict of arrays that is part of its checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray


def recalled(state: dict[str, NDArray[np.float32]], key: str, like: Any) -> Any:
    """What was kept under a key, as an array of the same kind and on the same device as another one; zeros at first."""
    xp = array_namespace(like)
    if key not in state:
        return xp.zeros_like(like)
    return xp.asarray(state[key], device=like.device)


def kept(value: Any) -> NDArray[np.float32]:
    """A copy of an array, or of a tensor, for the dict."""
    return np.array(value.detach().cpu().numpy() if hasattr(value, "detach") else value, np.float32)
