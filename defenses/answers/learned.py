"""The file of what an answer defense has learned, by which the server that answers gets it.

``defense.learn(model, reference, seed); save(path, defense)``, and then ``cutlayer cloud SPLIT --answers NAME --learned
PATH``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cutlayer.bounded import check_regular, reason
from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.errors import ConfigError
from cutlayer.machine.files import new_file

_KIND = "answer defense"


def save(path: Path, defense: AnswerDefense) -> None:
    """Write what a defense has learned. Raises WriteError."""
    from safetensors.numpy import save as serialize

    arrays = {name: np.ascontiguousarray(array) for name, array in defense.learned.items()}
    with new_file(path) as file:
        file.write(serialize(arrays, {_KIND: type(defense).__name__}))


def ready(defense: AnswerDefense, title: str, path: Path | None = None) -> AnswerDefense:
    """The defense, ready to answer with what it has learned in another process.

    Args:
        defense: The defense.
        title: Its name and options, for messages.
        path: File that `save` wrote; None where there is none.

    Raises:
        ConfigError: The defense answers nothing, it needs a file and there is none, or the file is damaged or was
            written for another defense.
    """
    if type(defense).answer is AnswerDefense.answer:
        raise ConfigError(
            f"The answer defense {title} acts while the model is trained, and not on replies; leave --answers out, or "
            "name one that acts on replies: `cutlayer list answer-defenses`."
        )
    learns = type(defense).learn is not AnswerDefense.learn
    if path is None:
        if learns and defense.on:
            raise ConfigError(f"The answer defense {title} has to learn before it answers; name its file by --learned.")
        return defense
    if not learns:
        raise ConfigError(f"The answer defense {title} learns nothing; leave --learned out.")
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path)
        with safe_open(path, "numpy") as file:
            written_for = (file.metadata() or {}).get(_KIND)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read: {reason(error)}; write it again.") from None
    if written_for != type(defense).__name__:
        raise ConfigError(f"{path} was not written for the answer defense {title}, but for {written_for!r:.80}.")
    if not all(array.dtype.kind in "biuf" and np.isfinite(array).all() for array in arrays.values()):
        raise ConfigError(f"{path} holds what is no finite number; write it again.")
    defense.deploy(arrays)
    return defense
