"""The counters of a server, in Prometheus' text format.

Requests update the counters when they are answered; gauges are read only when the metrics are requested.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from cutlayer.wire.visitors import REASONS, Visitors

NANOSECONDS = tuple(scale * 10**power for power in range(5, 11) for scale in (1, 3))
SAMPLES = (1, 2, 4, 8, 16, 32, 64)
STAGES = ("queue", "decode", "tail", "reply")


class Histogram:
    """The number of observations up to each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0

    def observe(self, value: int) -> None:
        """Add an observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Metrics:
    """Counters of requests, answers and batches. Any thread may update and read them.

    Args:
        gauges: Functions that return a current value, by name; the name ends with the unit.
        visitors: The log of the server, which counts connections.
        answers: The answer defense and its options.
    """

    def __init__(self, gauges: Mapping[str, Callable[[], float]], visitors: Visitors, answers: str = "none") -> None:
        self._gauges, self._visitors, self._answers = gauges, visitors, answers
        self._lock = threading.Lock()
        self._codes: Counter[str] = Counter(OK=0)
        self._counts = dict.fromkeys(("repeated_requests", "abandoned_requests", "request_bytes"), 0)
        self._stages = [Histogram(NANOSECONDS) for _ in STAGES]
        self._samples = Histogram(SAMPLES)

    def answer(self, request_bytes: int, durations_ns: tuple[int, ...]) -> None:
        """Count an answered request, with its size and the durations of `STAGES`."""
        with self._lock:
            self._codes["OK"] += 1
            self._counts["request_bytes"] += request_bytes
            for histogram, duration_ns in zip(self._stages, durations_ns, strict=True):
                histogram.observe(duration_ns)

    def refuse(self, code: str) -> None:
        """Count a refused request."""
        with self._lock:
            self._codes[code] += 1

    def count(self, name: Literal["repeated_requests", "abandoned_requests"]) -> None:
        """Count a request that was answered without a computation, or dropped because its client had left."""
        with self._lock:
            self._counts[name] += 1

    def batch(self, n_samples: int) -> None:
        """Count a batch of this many samples."""
        with self._lock:
            self._samples.observe(n_samples)

    def summary(self) -> str:
        """Return a line about all requests so far."""
        with self._lock:
            codes, request_bytes = dict(self._codes), self._counts["request_bytes"]
        connections, turned_away = self._visitors.counts()
        line = f"answered {codes.pop('OK'):,} requests, {request_bytes / 1e6:,.1f} MB, over {connections:,} connections"
        refused = {**codes, **{f"connections, {reason}": n for reason, n in turned_away.items()}}
        return line + "".join(f"; refused {n:,} ({what})" for what, n in refused.items())

    def text(self) -> str:
        """Return all metrics in the exposition format."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield "# TYPE cutlayer_requests_total counter"
        for code, count in sorted(self._codes.items()):
            yield f'cutlayer_requests_total{{code="{code}"}} {count}'
        connections, refused = self._visitors.counts()
        for name, count in {**self._counts, "connections": connections}.items():
            yield f"# TYPE cutlayer_{name}_total counter"
            yield f"cutlayer_{name}_total {count}"
        yield "# TYPE cutlayer_refused_connections_total counter"
        for reason in REASONS:
            yield f'cutlayer_refused_connections_total{{reason="{reason}"}} {refused.get(reason, 0)}'
        yield "# TYPE cutlayer_answer_defense gauge"
        yield f"cutlayer_answer_defense{{name={json.dumps(self._answers)}}} 1"
        for name, gauge in self._gauges.items():
            yield f"# TYPE cutlayer_{name} gauge"
            yield f"cutlayer_{name} {gauge():g}"
        yield "# TYPE cutlayer_batch_samples histogram"
        yield from _histogram("cutlayer_batch_samples", "", self._samples, 1)
        yield "# TYPE cutlayer_stage_seconds histogram"
        for stage, histogram in zip(STAGES, self._stages, strict=True):
            yield from _histogram("cutlayer_stage_seconds", f'stage="{stage}"', histogram, 1_000_000_000)


def _histogram(name: str, label: str, histogram: Histogram, unit: int) -> Iterator[str]:
    comma, total = "," if label else "", 0
    for bound, count in zip((*(bound / unit for bound in histogram.bounds), "+Inf"), histogram.counts, strict=True):
        total += count
        yield f'{name}_bucket{{{label}{comma}le="{bound}"}} {total}'
    braced = f"{{{label}}}" if label else ""
    yield f"{name}_sum{braced} {histogram.sum / unit:.9g}"
    yield f"{name}_count{braced} {total}"
