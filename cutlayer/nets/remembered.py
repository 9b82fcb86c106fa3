"""Networks that are trained once in a process, and used by every run of a sweep that would train the same one."""

import copy
import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar, cast

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

REMEMBERED = 12
"""Networks to remember: all runs of a sweep of a defense's strength learn the same ones, and so does the attacker."""
_TRAINED: dict[bytes, nn.Module] = {}


def remembered(settings: object, material: Iterable[Tensor], train: Callable[[], M]) -> M:
    """A copy of the network that was trained with these settings on this material; trained now where none was.

    Args:
        settings: All that the training depends on besides the material, the kind of network and the seed among it.
        material: Tensors, such as images and weights, of which every byte counts.
        train: Trains the network.
    """
    digest = hashlib.sha256(repr(settings).encode())
    for tensor in material:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    key = digest.digest()
    if key not in _TRAINED:
        network = train()
        if len(_TRAINED) == REMEMBERED:
            del _TRAINED[next(iter(_TRAINED))]
        _TRAINED[key] = network
    return cast("M", copy.deepcopy(_TRAINED[key]))
