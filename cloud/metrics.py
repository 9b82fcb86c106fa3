"""What a server has done, in Prometheus' text format.

Counters of this module are written where requests are answered; what is in flight is asked for when somebody looks.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

NANOSECONDS = tuple(scale * 10**power for power in range(5, 11) for scale in (1, 3))
SAMPLES = (1, 2, 4, 8, 16, 32, 64)
STAGES = ("queue", "decode", "tail", "reply")


class Histogram:
    """How many observations were at most so large, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0

    def observe(self, value: int) -> None:
        """Count a value in."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Metrics:
    """Counters for requests, answers and batches. Written and read by any thread.

    Args:
        gauges: Name to a function that says what is there now, in the unit that the name ends with.
    """

    def __init__(self, gauges: Mapping[str, Callable[[], float]]) -> None:
        self._gauges = gauges
        self._lock = threading.Lock()
        self._codes: Counter[str] = Counter()
        self._answered = self._repeated = self._abandoned = self._request_bytes = 0
        self._stages = [Histogram(NANOSECONDS) for _ in STAGES]
        self._samples = Histogram(SAMPLES)

    def answer(self, request_bytes: int, durations_ns: tuple[int, ...]) -> None:
        """A request of this size was answered, and each of `STAGES` took so long."""
        with self._lock:
            self._answered += 1
            self._request_bytes += request_bytes
            for histogram, duration_ns in zip(self._stages, durations_ns, strict=True):
                histogram.observe(duration_ns)

    def refuse(self, code: str) -> None:
        """A request was answered with an error."""
        with self._lock:
            self._codes[code] += 1

    def repeat(self) -> None:
        """A request came again and was answered without being computed."""
        with self._lock:
            self._repeated += 1

    def abandon(self) -> None:
        """A request was dropped, for nobody waited any more."""
        with self._lock:
            self._abandoned += 1

    def batch(self, n_samples: int) -> None:
        """So many samples were computed together."""
        with self._lock:
            self._samples.observe(n_samples)

    def text(self) -> str:
        """All of it, in the exposition format."""
        with self._lock:
            return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield "# TYPE cutlayer_requests_total counter"
        for code, count in sorted({"OK": self._answered, **self._codes}.items()):
            yield f'cutlayer_requests_total{{code="{code}"}} {count}'
        for name, count in (
            ("repeated_requests", self._repeated),
            ("abandoned_requests", self._abandoned),
            ("request_bytes", self._request_bytes),
        ):
            yield f"# TYPE cutlayer_{name}_total counter"
            yield f"cutlayer_{name}_total {count}"
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
