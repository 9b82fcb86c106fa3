"""Whether a profile can be believed, and why not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from cutlayer.profile.measure import CutMeasurements, Timing
from cutlayer.profile.plan import LEAST
from cutlayer.trace import STAGES, Columns

STEADY = 0.10
"""Greatest distance between the medians of the thirds of a head's runs, as a part of the median of all."""

OWN_CORE = 0.90
"""Least CPU time of a head for each second that passes."""

OTHERS = 0.25
"""Greatest share of all cores that other processes may take, for cores share caches and memory."""

UNATTRIBUTED = 0.05
"""Greatest part of a request's time that belongs to no stage."""

MODEL_ERROR = 0.25
"""Greatest median error of the cost model."""


def faults(cuts: Iterable[CutMeasurements], model_errors: Sequence[float]) -> list[str]:
    """Why the profile is not valid: one sentence each, none when it is.

    The errors of the cost model, at the points that were measured, are parts of what was measured.
    """
    sentences = [sentence for cut in cuts for sentence in _faults_of_cut(cut)]
    typical = float(np.median(np.abs(model_errors or [0.0])))
    if typical > MODEL_ERROR:
        sentences.append(
            f"The cost model is off by {typical:.0%} in the middle of the points measured: "
            "trust only what is marked as measured."
        )
    return sentences


def _faults_of_cut(cut: CutMeasurements) -> list[str]:
    runs_ns, sentences = np.asarray(cut.head.ns), []
    if len(runs_ns) < LEAST:
        sentences.append(f"too few samples, {len(runs_ns)} runs of the head where a p95 needs {LEAST}.")
    thirds = [float(np.median(part)) for part in np.array_split(runs_ns, 3) if len(part)]
    spread = (max(thirds) - min(thirds)) / float(np.median(runs_ns))
    if spread > STEADY:
        sentences.append(f"drifting, the head's median changed by {spread:.0%} while it was measured.")
    if crowd := _crowd(cut.head):
        sentences.append(f"not alone, {crowd}; end what else runs on this machine.")
    sentences += [f"throttled, {cause}." for cause in cut.head.held_back]
    sentences += [_fault_of_requests(codec, columns) for codec, columns in cut.requests.items()]
    return [f"{cut.candidate.cut}: {sentence}" for sentence in sentences if sentence]


def _crowd(head: Timing) -> str:
    """What other processes took while a head was timed; empty where it was little."""
    waited = head.waited_ns / head.wall_ns
    # A quota is the user's wish, and stops the head on purpose.
    if head.quota is None and head.cpu_share < OWN_CORE:
        return f"the head got {head.cpu_share:.0%} of a core"
    if head.quota is None and waited > 1 - OWN_CORE:
        return f"the head waited for a core {waited:.0%} of the time"
    return f"other work took {head.others:.0%} of all cores" if head.others > OTHERS else ""


def _fault_of_requests(codec: str, columns: Columns) -> str:
    total_ns = columns["end_to_end_ns"]
    if not np.array_equal(np.sum([columns[f"{stage}_ns"] for stage in STAGES], axis=0), total_ns):
        return f"with {codec}, the stages do not add up to the end-to-end time."
    share = float(np.median(columns["unattributed_ns"] / total_ns))
    if share > UNATTRIBUTED:
        return f"with {codec}, {share:.0%} of the end-to-end time belongs to no stage."
    if np.median(columns["network_ns"]) <= 0:
        return f"with {codec}, the server counts more time than the round trip took."
    return ""
