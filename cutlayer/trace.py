"""How long each stage of one request took, in monotonic nanoseconds, and how many bytes it sent.

Two machines' clocks are never subtracted: the cloud sends durations, and the network is the remainder of the
round trip (`network = round_trip - cloud`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STAGES = ("head", "protect", "encode", "network", "queue", "decode", "tail", "reply", "unattributed")


class Trace(NamedTuple):
    """The durations and sizes of one request.

    `network_ns` is send + network + receive; `reply_ns` is the time to encode the answer. The stages of
    `STAGES` sum to `end_to_end_ns`: `unattributed_ns` is the time that no other stage accounts for. `tensor_bytes` are
    those of the encoded tensors up, `message_bytes` and `answer_bytes` those of the whole messages up and down, headers
    included.
    """

    request_index: int
    n_samples: int
    head_ns: int
    protect_ns: int
    encode_ns: int
    network_ns: int
    queue_ns: int
    decode_ns: int
    tail_ns: int
    reply_ns: int
    unattributed_ns: int
    end_to_end_ns: int
    tensor_bytes: int
    message_bytes: int
    answer_bytes: int


Columns = dict[str, NDArray[np.int64]]


def columns(traces: Sequence[Trace]) -> Columns:
    """One int64 array for each field, in request order."""
    table = np.array(traces, dtype=np.int64).reshape(len(traces), len(Trace._fields))
    return {name: table[:, i] for i, name in enumerate(Trace._fields)}
