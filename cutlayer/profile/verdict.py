"""Whether a profile can be believed, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cutlayer.profile.plan import LEAST
from cutlayer.profile.sweep import Observed
from cutlayer.trace import STAGES, Columns

STEADY = 0.10
"""The medians of the thirds of a head's runs may be so far apart, as a part of the median of all."""

OWN_CORE = 0.90
"""Processor time that a head has to get for each second that passes."""

OTHERS = 0.25
"""Of all cores may be taken by something else, for cores share caches and memory."""

UNATTRIBUTED = 0.05
"""Of a request's time may belong to no stage."""

MODEL_ERROR = 0.25
"""The cost model may be so far off in the middle of the points that were measured."""


def reasons(observed: Sequence[Observed], model_errors: Sequence[float]) -> list[str]:
    """Why the profile is not valid: one sentence each, none when it is.

    Args:
        observed: All cuts.
        model_errors: Of the cost model at the points measured, as parts of what was measured.
    """
    found = [reason for one in observed for reason in _of_cut(one)]
    if len(model_errors):
        typical = float(np.median(np.abs(model_errors)))
        if typical > MODEL_ERROR:
            found.append(
                f"The cost model is off by {typical:.0%} in the middle of the points measured: "
                "trust only what is marked as measured."
            )
    return found


def _of_cut(one: Observed) -> list[str]:
    name, head, found = one.candidate.cut, one.head, []
    taken = np.asarray(head["ns"])
    if len(taken) < LEAST:
        found.append(f"{name}: too few samples, {len(taken)} runs of the head where a p95 needs {LEAST}.")
    thirds = [float(np.median(part)) for part in np.array_split(taken, 3) if len(part)]
    spread = (max(thirds) - min(thirds)) / float(np.median(taken))
    if spread > STEADY:
        found.append(f"{name}: drifting, the head's median changed by {spread:.0%} while it was measured.")
    if crowd := _crowd(head):
        found.append(f"{name}: not alone, {crowd}; end what else runs on this machine.")
    found.extend(f"{name}: throttled, {reason}." for reason in head["held_back"])
    found.extend(f"{name}: {reason}" for codec, timed in one.requests.items() for reason in _of_requests(codec, timed))
    return found


def _crowd(head: Mapping[str, Any]) -> str:
    """What others took while a head was timed; empty where it was little."""
    share, waited = head["cpu_ns"] / head["wall_ns"], head["waited_ns"] / head["wall_ns"]
    # A quota is asked for, and stops the head on purpose.
    if head["quota"] is None and share < OWN_CORE:
        return f"the head got {share:.0%} of a core"
    if head["quota"] is None and waited > 1 - OWN_CORE:
        return f"the head waited for a core {waited:.0%} of the time"
    return f"other work took {head['others']:.0%} of all cores" if head["others"] > OTHERS else ""


def _of_requests(codec: str, timed: Columns) -> list[str]:
    total = timed["end_to_end_ns"]
    stages = np.sum([timed[f"{stage}_ns"] for stage in STAGES], axis=0)
    if not np.array_equal(stages, total):
        return [f"with {codec}, the stages do not add up to the end-to-end time."]
    share = float(np.median(timed["unattributed_ns"] / total))
    if share > UNATTRIBUTED:
        return [f"with {codec}, {share:.0%} of the end-to-end time belongs to no stage."]
    if np.median(timed["network_ns"]) <= 0:
        return [f"with {codec}, the server counts more time than the round trip took."]
    return []
