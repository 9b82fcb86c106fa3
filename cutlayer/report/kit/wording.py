"""How numbers and names read: units, the direction that means leak, and plain words for terms of the field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from cutlayer.errors import ConfigError
from cutlayer.records.run import Estimate, Result, Words
from cutlayer.registry import ATTACKS, DEFENSES, METRICS

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Scale:
    """How the values of a metric are printed; the fields are those of `cutlayer.metrics.base.Metric`.

    `leak_when` is empty where neither high nor low values are a leak.
    """

    title: str
    unit: str = ""
    digits: int = 3
    factor: float = 1.0
    leak_when: str = ""
    explanation: str = ""

    @property
    def heading(self) -> str:
        """Name and unit, for the head of a column."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def direction(self) -> str:
        """Which values are a leak, in words."""
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
"""What it is a share of is said by the kind of the inputs: `cutlayer.report.kit.kinds`."""
IDENTIFIED = Scale("Identified", "%", 1, 100, "high")

ACCESS = {  # with a place for what inputs are called
    "QUERY_FREE": ("query-free", "sees only what arrives at the server, and holds the server's half of the model"),
    "BLACK_BOX": ("black-box", "may also push {many} of its own through the device and watch what comes out"),
    "WHITE_BOX": ("white-box", "also holds the weights of the device's half and the settings of the defense"),
}

VANTAGES = {
    "cloud": "The attacker is the server, which decodes all that arrives and holds the second half of the model.",
    "link": "The attacker reads the network, where nothing is encrypted, and decodes what passes; it holds no tail.",
    "encrypted-link": "The attacker reads the network, where messages are encrypted: it sees their lengths and times.",
    "client": "The attacker is the server together with one of its clients, whose copy of the first half it holds.",
    "servers": "The attacker is {servers} servers together, each of which gets one release of every {one}.",
}
"""Where the attacker sits, by the names of `cutlayer.attacks.view.VANTAGES`; one input is called as its kind is."""

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


_own: dict[str, Words] = {}
"""What the records say of attacks and metrics that are not part of cutlayer, by name."""


def learn(results: Iterable[Result]) -> None:
    """Take over what the records say of attacks and metrics of the user's own; their files are never imported here."""
    _own.update({words.name: words for result in results for words in result.words})


def scale(metric: str) -> Scale:
    """How a metric is printed, in the metric's own words; a metric that is not known here goes by its name."""
    try:
        known = METRICS.load(metric) if metric in set(METRICS) else _own[metric]
    except (ConfigError, KeyError):
        return Scale(metric)
    return Scale(known.title, known.unit, known.digits, known.factor, known.leak_when, known.explanation)


def in_order(metrics: Set[str]) -> list[str]:
    """The known metrics in the order of the registry, then the others by name."""
    return [m for m in METRICS if m in metrics] + sorted(metrics - set(METRICS))


def attack_words(attack: str) -> str:
    """What an attack does, in its own plain words; empty when the attack is not known here, or torch is missing."""
    if attack not in set(ATTACKS):
        return _own[attack].explanation if attack in _own else ""
    try:
        return str(ATTACKS.load(attack).plain_words)
    except ConfigError:
        return ""


def defense_words(family: str) -> str:
    """What a defense does, in its own words; empty where it is not known here, or torch is missing."""
    words = []
    for name in family.split(" then "):
        if name not in set(DEFENSES):
            return ""
        try:
            words.append(DEFENSES.summary(name).partition(" [")[0].replace("`", ""))
        except ConfigError:
            return ""
    return " Then: ".join(words)


def access_name(access: str) -> str:
    """``WHITE_BOX`` as ``white-box``."""
    return ACCESS[access][0] if access in ACCESS else access


def ceiling_assumes(candidates: Iterable[int]) -> str:
    """The assumptions of a ceiling, in one line, from the numbers of candidates of its runs."""
    counts = sorted({n for n in candidates if n})
    among = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}" if counts else "all"
    return (
        f"The ceiling assumes that the input is one of {among} candidates which the attacker holds, each equally "
        "likely, that the noise of every release is drawn anew, and the head as deployed, in float32; one-sided 95 % "
        "bounds."
    )


def where_attackers_sit(vantage: str, access: str, servers: int, one: str) -> str:
    """One sentence or two on the threat model; nothing of a vantage that this version does not know.

    Args:
        vantage: Where they sit.
        access: What they are granted at most.
        servers: Number of servers that they are.
        one: What one input is called.
    """
    granted = f"At most {access_name(access)} access to the first half is granted."
    return " ".join(filter(None, [VANTAGES.get(vantage, "").format(servers=servers, one=one), granted]))


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
    for unit, length in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= length * 0.9995:
            return _three_figures(ns / length) + SPACE + unit
    return f"{ns:.0f}{SPACE}ns" if ns else "0"


def seconds(value: float) -> str:
    """Seconds, for attacks and training, three figures."""
    return DASH if math.isnan(value) else f"{_three_figures(value)}{SPACE}s"


def ms(ns: float | None) -> str:
    """Milliseconds with three digits that matter, without the unit; a dash when None."""
    if ns is None:
        return "-"
    value = ns / 1e6
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value >= 100 else f"{value:.2f}"


def rate(bps: float) -> str:
    """Bits per second in the unit that reads best, three figures."""
    for unit, factor in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bps >= factor:
            return f"{bps / factor:.3g} {unit}"
    return f"{bps:.3g} bit/s"


def size(count: int | None) -> str:
    """Bytes in decimal units."""
    if count is None:
        return DASH
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f}{SPACE}{unit}"
    return f"{count}{SPACE}B"


def facts(stated: Mapping[str, float | str]) -> str:
    """The facts that a defense states of itself, ``snr_db`` as "SNR 12.3 dB"."""
    texts = []
    for name, value in stated.items():
        title = name.removesuffix("_db").replace("_", " ").replace("snr", "SNR")
        text = value if isinstance(value, str) else f"{value:.3g}".replace("-", MINUS)
        texts.append(f"{title} {text}{SPACE + 'dB' if name.endswith('_db') else ''}")
    return "; ".join(texts)


def defense_name(label: str) -> str:
    """The baseline reads "no defense"."""
    return "no defense" if label == "none" else label


def _three_figures(value: float) -> str:
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:z.{digits}f}".replace("-", MINUS)
