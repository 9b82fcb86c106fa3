"""How many inputs an audit takes at least, so that its figures say something."""

from cutlayer.data.splits import Splits
from cutlayer.errors import ConfigError, DataError

LEAST_PRIVATE, LEAST_AUXILIARY = 20, 50
LEAST_IN_ONE = 210
"""Inputs without parts of their own that give as many: an eighth of them is private, a quarter auxiliary."""


def check_asked(auxiliary: int) -> None:
    """Refuse an attacker who is to get too few inputs; 0 is all.

    Raises:
        ConfigError: It is fewer than an audit takes.
    """
    if 0 < auxiliary < LEAST_AUXILIARY:
        raise ConfigError(
            f"--auxiliary {auxiliary} gives the attackers too few inputs to learn from; state at least "
            f"{LEAST_AUXILIARY}, or 0 for all."
        )


def check_enough(data: Splits, *, private: bool) -> None:
    """Refuse data of which an audit could only say something wrong.

    Args:
        data: The data, with the auxiliary inputs that the attackers get.
        private: Whether its private part is attacked; not where a tap comes with its truth.

    Raises:
        DataError: A part has too few inputs; the message has their numbers and the least ones.
    """
    n_private, n_auxiliary = len(data.private), len(data.auxiliary)
    if n_auxiliary >= LEAST_AUXILIARY and (n_private >= LEAST_PRIVATE or not private):
        return
    whole = len(data.train) + n_auxiliary + n_private + len(data.test)
    attacks = f"attacks private inputs, at least {LEAST_PRIVATE}, and" if private else "of a tap with its truth"
    raise DataError(
        f"{data.name} holds {whole:,} inputs, {n_private:,} private and {n_auxiliary:,} auxiliary ones among them, "
        f"which is too few: an audit {attacks} lets the attackers learn from auxiliary ones, at least "
        f"{LEAST_AUXILIARY}. Name with --data at least {LEAST_IN_ONE} {data.modality.one[1]} (an eighth of them "
        "becomes private, a quarter auxiliary), or a data set of `cutlayer list datasets`."
    )
