"""The conditions of ``--fail-if``: ``METRIC OP LIMIT``, such as ``leakage > 0.5`` or ``p95 > 1.1x``.

The operator is one of ``> >= < <=``. What a metric is, and which units a limit may have, is the command's to say.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Collection
from typing import NamedTuple

from cutlayer.errors import ConfigError

_OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_CONDITION = re.compile(r"\s*([a-z][\w.-]*)\s*(>=|<=|>|<)\s*(-?\d{1,18}(?:\.\d{1,18})?)\s*(%|[a-zA-Z]*)\s*")


class Condition(NamedTuple):
    """What a figure must not do."""

    text: str
    metric: str
    op: str
    limit: float
    unit: str

    def holds(self, value: float, limit: float) -> bool:
        """Whether a figure does what the condition forbids, given the limit in the figure's own unit."""
        return bool(_OPERATORS[self.op](value, limit))


def parse(text: str, units: Collection[str], examples: str) -> Condition:
    """Read a condition.

    Args:
        text: The condition.
        units: The units that its limit may have; empty for none.
        examples: Conditions for the error message.

    Raises:
        ConfigError: The text is not a condition.
    """
    match = _CONDITION.fullmatch(text)
    if match is None or match[4] not in units:
        raise ConfigError(f"{text!r:.80} is not a condition; write METRIC OP LIMIT, such as {examples}.")
    return Condition(text.strip(), match[1], match[2], float(match[3]), match[4])
