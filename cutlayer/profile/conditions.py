"""Compare two profiles figure by figure, and check whether the second breaks a condition: for continuous integration.

A condition reads ``METRIC OP LIMIT``. The metric is a figure of `profile.json`: ``p95`` (end to end, of each cut, codec
and network), ``head.p50``, ``encode.p95``, ``bytes``, ``message_bytes``, ``peak_rss_bytes``, ``stages.tail``. The
operator is one of ``> >= < <=``. The limit is ``1.1x`` (times the first profile's figure), ``10%`` (more than it;
``-10%`` is less), or a figure of its own: ``50ms``, ``800us``, ``4096B``.
"""

from __future__ import annotations

from cutlayer.errors import ConfigError
from cutlayer.profile.compare import Figure, Figures, Row
from cutlayer.records import condition as grammar
from cutlayer.records.condition import Condition
from cutlayer.report.kit.columns import columns

_UNITS = {"us": ("ns", 1e3), "ms": ("ns", 1e6), "s": ("ns", 1e9), "B": ("bytes", 1.0)}


def parse(text: str) -> Condition:
    """Read ``p95 > 1.1x``.

    Raises:
        ConfigError: The text is not a condition.
    """
    return grammar.parse(text, ("x", "%", *_UNITS), "'p95 > 1.1x', 'head.p50 > 10%', 'p50 > 50ms' or 'bytes > 4096B'")


def _holds(condition: Condition, before: Figure, after: Figure) -> bool:
    """Whether the second figure does what the condition forbids."""
    if condition.unit == "x":
        limit = condition.limit * before.value
    elif condition.unit == "%":
        limit = before.value + condition.limit / 100 * abs(before.value)
    else:
        limit = condition.limit * _UNITS[condition.unit][1]
    return condition.holds(after.value, limit)


def compare(before: Figures, after: Figures, metric: str) -> list[tuple[Row, Figure, Figure]]:
    """The rows of a metric that both profiles have from the same source, in the order of the first.

    Raises:
        ConfigError: There is no such row.
    """
    both = [
        (row, figure, after[row])
        for row, figure in before.items()
        if row.metric == metric and row in after and after[row].source == figure.source
    ]
    if both:
        return both
    for which, figures in (("first", before), ("second", after)):
        if not any(row.metric == metric for row in figures):
            names = ", ".join(sorted({row.metric for row in figures if "." not in row.metric}))
            raise ConfigError(
                f"The {which} profile has no {metric}: a metric is one of {names}, head.p50 and the like, and a "
                "percentile needs enough samples."
            )
    raise ConfigError(f"The two profiles have no cut, network, codec and source of {metric} in common.")


def broken(condition: Condition, rows: list[tuple[Row, Figure, Figure]]) -> list[tuple[Row, Figure, Figure]]:
    """The rows that break a condition, the greatest ratio first.

    Raises:
        ConfigError: The condition's unit does not fit the metric.
    """
    unit = rows[0][1].unit
    if condition.unit in _UNITS and _UNITS[condition.unit][0] != unit:
        raise ConfigError(f"{condition.metric} is in {unit or 'no unit'}; {condition.text!r} has another unit.")
    breaking = [(row, before, after) for row, before, after in rows if _holds(condition, before, after)]
    return sorted(breaking, key=lambda entry: -ratio(entry[1], entry[2]))


def ratio(before: Figure, after: Figure) -> float:
    """The second figure divided by the first."""
    return after.value / before.value if before.value else float("inf") if after.value else 1.0


def table(metric: str, rows: list[tuple[Row, Figure, Figure]]) -> str:
    """The rows as a table for a terminal."""
    head = [metric, "network", "codec", "before", "after", "ratio", "n", "source"]
    cells = [
        [
            row.cut, row.network or "-", row.codec or "-", written(before), written(after),
            f"{ratio(before, after):.2f}x", f"{before.n}, {after.n}" if before.n and after.n else "-", before.source,
        ]
        for row, before, after in rows
    ]  # fmt: skip
    return columns(head, cells, left=(0, 1, 2, 7))


def written(figure: Figure) -> str:
    """A number with its unit."""
    if figure.unit == "ns":
        return f"{figure.value / 1e6:.3f} ms"
    return f"{figure.value:,.0f} B" if figure.unit == "bytes" else f"{figure.value:,.4g}"
