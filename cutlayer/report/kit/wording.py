"""How numbers and names read: units, the direction that means leak, and plain words for the field's terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cutlayer.records.run import AttackRecord, Estimate

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Scale:
    """How the values of one metric are printed: multiplied by `factor`, with `digits` decimals, in `unit`."""

    title: str
    unit: str = ""
    digits: int = 3
    factor: float = 1.0
    leak_when: str = ""

    @property
    def heading(self) -> str:
        """Name and unit, for the head of a column."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def direction(self) -> str:
        """Which way is a leak."""
        return {"high": "higher leaks more", "low": "lower leaks more"}.get(self.leak_when, "")

    def number(self, value: float) -> str:
        """The value without its unit."""
        if math.isnan(value):
            return DASH
        if math.isinf(value):
            return "∞" if value > 0 else MINUS + "∞"
        return f"{value * self.factor:z.{self.digits}f}".replace("-", MINUS)

    def value(self, value: float) -> str:
        """The value with its unit."""
        return self.number(value) + (SPACE + self.unit if self.unit and not math.isnan(value) else "")

    def interval(self, estimate: Estimate) -> str:
        """The 95 % interval, empty where the record has none."""
        if math.isnan(estimate.low) or math.isnan(estimate.high):
            return ""
        return f"{self.number(estimate.low)} to {self.number(estimate.high)}"


ACCURACY = Scale("Accuracy", "%", 1, 100)
LEAKAGE_GAIN = Scale("Leakage gain", "%", 1, 100, "high")

_SCALES = {
    "mse": Scale("MSE", "", 4, 1, "low"),
    "psnr": Scale("PSNR", "dB", 2, 1, "high"),
    "ssim": Scale("SSIM", "", 3, 1, "high"),
    "identification": Scale("Identified", "%", 1, 100, "high"),
}

METRIC_ORDER = tuple(_SCALES)

METRICS_EXPLAINED = (
    (
        "Leakage gain",
        "how far the attack gets from guessing the average picture (0 %) to the exact picture (100 %), "
        "by mean squared error.",
    ),
    ("MSE", "mean squared error of the pixels, each between 0 and 1."),
    (
        "PSNR",
        "peak signal-to-noise ratio, the mean over pictures; it rises by 10 where the squared error falls to a tenth.",
    ),
    ("SSIM", "structural similarity; 1 is the same picture, 0 is nothing in common."),
    ("Identified", "how often the true picture is the one nearest to the reconstruction among all candidates."),
)

ACCESS = {
    "QUERY_FREE": ("query-free", "sees only what arrives at the server, and holds the server's half of the model"),
    "BLACK_BOX": ("black-box", "may also push pictures of its own through the device and watch what comes out"),
    "WHITE_BOX": ("white-box", "also holds the weights of the device's half and the settings of the defense"),
}

_ATTACKS = {
    "mean-image": "always guesses the average picture",
    "nearest": "looks up the most similar of the attacker's own pictures",
    "ridge": "a linear formula fitted on the attacker's own pictures",
    "decoder": "a neural network trained to turn what was sent back into pictures",
    "generator": "finds a generated picture that would have sent the same numbers",
    "white-box": "changes a guess until it would have sent the same numbers",
    "mask-aware": "is told which numbers were left out, or sees nothing else",
    "averaging": "averages several transmissions of the same picture to remove the noise",
}

STAGE_WORDS = {
    "head": "the first layers, on the device",
    "protect": "the defense, on the device",
    "encode": "packing, on the device",
    "network": "sending, travelling and receiving",
    "queue": "waiting at the server",
    "decode": "unpacking at the server",
    "tail": "the remaining layers, on the server",
    "reply": "packing the answer",
    "unattributed": "what no stage claims",
}


def scale(metric: str) -> Scale:
    """How a metric is printed; a metric that is not known here goes by its own name."""
    return _SCALES.get(metric, Scale(metric))


def in_order(metrics: set[str]) -> list[str]:
    """The known metrics in their order, then the others by name."""
    return [m for m in METRIC_ORDER if m in metrics] + sorted(metrics - set(METRIC_ORDER))


def attack_words(attack: AttackRecord) -> str:
    """What the attack does, in plain words; empty when it is not known here."""
    return _ATTACKS.get(attack.attack, "")


def access_name(access: str) -> str:
    """``WHITE_BOX`` as ``white-box``."""
    return ACCESS[access][0] if access in ACCESS else access


def points(difference: float) -> str:
    """A difference of two shares in percentage points, signed; one that rounds to nothing has no sign."""
    if math.isnan(difference):
        return DASH
    text = f"{difference * 100:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def duration(ns: float | None) -> str:
    """A time in the unit that reads best, three figures."""
    if ns is None or math.isnan(ns):
        return DASH
    for unit, one in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= one * 0.9995:
            return _three_figures(ns / one) + SPACE + unit
    return f"{ns:.0f}{SPACE}ns" if ns else "0"


def seconds(value: float) -> str:
    """A long time: attacks and training."""
    return DASH if math.isnan(value) else f"{_three_figures(value)}{SPACE}s"


def ms(ns: float | None) -> str:
    """Milliseconds with three digits that matter, without the unit; a dash when None."""
    if ns is None:
        return "-"
    value = ns / 1e6
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value >= 100 else f"{value:.2f}"


def rate(bps: float) -> str:
    """Bits per second in the unit that reads best, three figures."""
    for unit, one in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bps >= one:
            return f"{bps / one:.3g} {unit}"
    return f"{bps:.3g} bit/s"


def size(count: int | None) -> str:
    """Bytes in decimal units."""
    if count is None:
        return DASH
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= one:
            return f"{count / one:.1f}{SPACE}{unit}"
    return f"{count}{SPACE}B"


def facts(stated: Mapping[str, float | str]) -> str:
    """What a defense states of itself, ``snr_db`` as "SNR 12.3 dB"."""
    return "; ".join(_fact(name, value) for name, value in stated.items())


def _fact(name: str, value: float | str) -> str:
    words, _, unit = name.rpartition("_")
    if unit != "db":
        words, unit = name, ""
    text = value if isinstance(value, str) else f"{value:.3g}".replace("-", MINUS)
    words = words.replace("_", " ").replace("snr", "SNR")
    return f"{words} {text}{SPACE + 'dB' if unit else ''}"


def defense_name(label: str) -> str:
    """The baseline reads "no defense"."""
    return "no defense" if label == "none" else label


def _three_figures(value: float) -> str:
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:z.{digits}f}".replace("-", MINUS)
