"""Attribute inference: which of two values of a sensitive column explains what a model said of a row.

M. Fredrikson, E. Lantz, S. Jha, S. Lin, D. Page, T. Ristenpart, "Privacy in Pharmacogenetics: An End-to-End Case Study
of Personalized Warfarin Dosing", USENIX Security 2014, and with confidences in place of error rates M. Fredrikson,
S. Jha, T. Ristenpart, "Model Inversion Attacks that Exploit Confidence Information and Basic Countermeasures", CCS
2015: the score of a value v is its prior times ``P(answer | the row with v)``.

Threat model: the attacker asks the model as often as it likes, and knows all of a person's row but one column, the
class, and perhaps the model's answer for the row. The prior is what its own rows say about the column (`imputed`),
which needs no model: it is the floor that a figure of this attack is compared with.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Answers = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Rows ``(N, D)`` to the probabilities of the classes ``(N, classes)``."""

_SPREAD = 0.01
"""How far an answer may lie from the one that a value explains: a rounding to two digits."""
_LEAST = 1e-6


def imputed(
    own: NDArray[np.float32],
    own_labels: NDArray[np.int64],
    rows: NDArray[np.float32],
    labels: NDArray[np.int64],
    columns: tuple[int, int],
    seed: int = 0,
) -> NDArray[np.float64]:
    """The log-odds of yes for each row, from the attacker's own rows and no model.

    Args:
        own: ``(M, D)``: the attacker's rows, with the sensitive column.
        own_labels: ``(M,)``: their classes.
        rows: ``(N, D)``: the rows asked about; their sensitive column is not looked at.
        labels: ``(N,)``: their classes.
        columns: The two numbers of the sensitive column: that of no, and that of yes.
        seed: Seed of the fit.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    def others(x: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.column_stack([np.delete(x, columns, axis=1), y]).astype(np.float32)

    model = HistGradientBoostingClassifier(random_state=seed).fit(others(own, own_labels), own[:, columns[1]] > 0.5)
    return _odds(model.predict_proba(others(rows, labels))[:, 1])


def inferred(
    answers: Answers,
    rows: NDArray[np.float32],
    labels: NDArray[np.int64],
    columns: tuple[int, int],
    prior: NDArray[np.float64],
    observed: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The log-odds of yes for each row, given the prior ones and what the model says.

    Args:
        answers: The model.
        rows: ``(N, D)``; the sensitive column is not looked at.
        labels: ``(N,)``: the classes, for which the model's answer is evidence where none was observed.
        columns: The two numbers of the sensitive column: that of no, and that of yes.
        prior: ``(N,)``: log-odds of yes before the model is asked.
        observed: ``(N, classes)``: the model's answer for each true row; None where the attacker has not seen it.
    """
    no, yes = (answers(_with(rows, columns, value)) for value in (0, 1))
    if observed is None:
        index = np.arange(len(rows)), labels
        said: NDArray[np.float64] = np.log(np.maximum(yes[index], _LEAST)) - np.log(np.maximum(no[index], _LEAST))
        return prior + said
    apart = ((observed - no) ** 2).sum(1) - ((observed - yes) ** 2).sum(1)
    odds: NDArray[np.float64] = prior + apart / (2 * _SPREAD**2)
    return odds


def _with(rows: NDArray[np.float32], columns: tuple[int, int], value: int) -> NDArray[np.float32]:
    changed = rows.copy()
    changed[:, columns[0]], changed[:, columns[1]] = 1 - value, value
    return changed


def _odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    p = probability.clip(_LEAST, 1 - _LEAST)
    odds: NDArray[np.float64] = np.log(p) - np.log1p(-p)
    return odds
