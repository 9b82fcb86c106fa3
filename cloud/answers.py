"""The answer defense of a server: from the logits of the tail to the log-probabilities that a reply holds."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import reason
from cutlayer.defenses.answers.base import UNTOLD, AnswerDefense
from cutlayer.defenses.answers.learned import ready
from cutlayer.errors import ConfigError, SplitError
from cutlayer.models.manifest import Manifest, tail_name
from cutlayer.registry import ANSWER_DEFENSES
from cutlayer.split_folder import Half
from cutlayer.tables import UNDEFENDED, Named
from cutlayer.tensors import parts, random_batch


class Answers:
    """What a server replies in place of the logits of its tail. One thread at a time calls it.

    It takes all samples of one request at once, so that a reply does not depend on what else its batch holds.

    Args:
        defense: The defense, which is on and ready to answer.
        manifest: Manifest of the split.
        title: The defense and its options, for a reader.
        rng: Source of the draws of the defense; seeded by the system if left out.

    Raises:
        ConfigError: The tail does not answer with the logits of at least two classes.
    """

    def __init__(
        self, defense: AnswerDefense, manifest: Manifest, title: str, rng: np.random.Generator | None = None
    ) -> None:
        (name, spec), *others = manifest.answers.items()
        if others or len(spec.shape) != 1 or 0 <= spec.shape[0] < 2 or -1 in spec.shape or spec.dtype != "float32":
            given = ", ".join(f"{name} {spec.dtype} {spec}" for name, spec in manifest.answers.items())
            raise ConfigError(
                f"An answer defense takes a tail that answers with one vector of class scores, float32; "
                f"{tail_name(manifest)} answers with {given}: serve it without --answers."
            )
        self.title, self._name, self._defense = title, name, defense
        self._rng = rng or np.random.default_rng()

    def check(self, tail: Half, manifest: Manifest) -> None:
        """Refuse a tail that gives probabilities in place of logits, as one that ends with a softmax does.

        Raises:
            ConfigError: It does, or the defense has learned for other answers than those of this tail.
        """
        samples = random_batch({"smashed": manifest.smashed} | manifest.beside, 2)
        given = parts(tail(samples), self._name)[self._name].astype(np.float64)
        if given.min() >= 0 and np.allclose(given.sum(1), 1, atol=1e-3):
            raise ConfigError(
                f"{tail_name(manifest)} answers with probabilities, and an answer defense takes logits; leave the "
                "softmax out of the model, or serve it without --answers."
            )
        try:
            copy(self._defense).answer(_scores(given.astype(np.float32)), np.random.default_rng(0))
        except (ValueError, KeyError, IndexError) as error:
            raise ConfigError(
                f"The answer defense {self.title} cannot answer for {tail_name(manifest)} with what it has learned: "
                f"{reason(error)}; let it learn for this model with these options."
            ) from None

    def __call__(self, answers: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """From the logits of a request, ``(N, classes)``, to log-probabilities, -1000 where nothing is told.

        Raises:
            SplitError: The logits are not finite, or the defense gives something else than log-probabilities.
        """
        scores = _scores(answers[self._name])
        told = np.asarray(self._defense.answer(scores, self._rng))
        if told.shape != scores.shape or told.dtype.kind != "f" or not np.isfinite(told).all():
            raise SplitError(
                f"The answer defense {self.title} gave {told.dtype} of shape {told.shape} for log-probabilities of "
                f"shape {scores.shape}, or a number that is not finite."
            )
        return {self._name: np.maximum(told, UNTOLD).astype("<f4", copy=False)}


def _scores(logits: NDArray[Any]) -> NDArray[Any]:
    """Log-probabilities ``(N, classes)`` of logits, at least -1000."""
    with np.errstate(all="ignore"):
        shifted = logits - logits.max(1, keepdims=True)
        scores: NDArray[Any] = np.maximum(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)), np.float32(UNTOLD))
    return scores


def answers_of(
    manifest: Manifest, named: Named, learned: Path | None = None, rng: np.random.Generator | None = None
) -> Answers | None:
    """What a server replies with an answer defense, or None where the defense is none or off.

    Args:
        manifest: Manifest of the split.
        named: The defense.
        learned: File of what it has learned.
        rng: See `Answers`.

    Raises:
        ConfigError: See `Answers`, and `cutlayer.defenses.answers.learned.ready`.
    """
    if named.name == UNDEFENDED.name:
        if learned is not None:
            raise ConfigError("--learned is the file of an answer defense; name that by --answers.")
        return None
    defense = ready(ANSWER_DEFENSES.make(named.name, **named.options), named.label, learned)
    return Answers(defense, manifest, named.label, rng) if defense.answers else None
