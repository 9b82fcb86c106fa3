"""Whether a profile can be believed, and why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cutlayer.profile.measure import CutMeasurements
from cutlayer.profile.plan import LEAST
from cutlayer.profile.rounds import Rounds
from cutlayer.trace import STAGES, Columns

STEADY = 0.10
"""Greatest distance between the medians of the thirds of a head's runs, as a part of the median of all."""

UNATTRIBUTED = 0.05
"""Greatest part of a request's time that belongs to no stage."""

MODEL_ERROR = 0.25
"""Greatest median error of the cost model."""


def faults(
    cuts: Iterable[CutMeasurements], rounds: Mapping[str, Rounds[Any]], model_errors: Sequence[float]
) -> list[str]:
    """Why the profile is not valid: one sentence each, none when it is.

    Args:
        cuts: The cuts that were measured.
        rounds: The rounds of each measurement, by what was measured in them.
        model_errors: Errors of the cost model at the points that were measured, as parts of what was measured.
    """
    sentences = _faults_of_rounds(rounds)
    sentences += [sentence for cut in cuts for sentence in _faults_of_cut(cut)]
    typical = float(np.median(np.abs(model_errors or [0.0])))
    if typical > MODEL_ERROR:
        sentences.append(
            f"The cost model is off by {typical:.0%} in the middle of the points measured: "
            "trust only what is marked as measured."
        )
    return sentences


def _faults_of_rounds(rounds: Mapping[str, Rounds[Any]]) -> list[str]:
    """One sentence on all measurements of which too few rounds are left, with the most disturbed one as an example."""
    disturbed = {what: of_one for what, of_one in rounds.items() if not of_one.enough}
    if not disturbed:
        return []
    worst = max(disturbed, key=lambda what: len(disturbed[what].set_aside) / len(disturbed[what].taken))
    n_others = len(disturbed) - 1
    others = f", and of {n_others} other measurement{'s'[: n_others > 1]}," if n_others else ""
    set_aside, taken = disturbed[worst].set_aside, disturbed[worst].taken
    return [
        f"Too few rounds of {worst}{others} were undisturbed: {len(set_aside)} of {len(taken)} were "
        f"{Counter(set_aside).most_common(1)[0][0]}. End what else runs on this machine, or give it more --seconds."
    ]


def _faults_of_cut(cut: CutMeasurements) -> list[str]:
    runs_ns, sentences = np.asarray(cut.head.ns), []
    if len(runs_ns) < LEAST:
        sentences.append(f"too few samples, {len(runs_ns)} runs of the head where a p95 needs {LEAST}.")
    thirds = [float(np.median(part)) for part in np.array_split(runs_ns, 3) if len(part)]
    spread = (max(thirds) - min(thirds)) / float(np.median(runs_ns))
    if spread > STEADY:
        sentences.append(f"drifting, the head's median changed by {spread:.0%} while it was measured.")
    sentences += [_fault_of_requests(codec, columns) for codec, columns in cut.requests.items()]
    return [f"{cut.candidate.cut}: {sentence}" for sentence in sentences if sentence]


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
