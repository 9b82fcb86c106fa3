"""What a network does to bytes: named networks with their sources, or four figures by hand.

wifi                          a name of `NETWORKS`
20mbit/40ms/5ms/0.1%          rate, delay, jitter and loss; a figure that is left out is 0
12mbit:50mbit/35ms            a rate up, from the device, and another one down

The delay is one way: a round trip takes it twice. A rate counts the bytes that programs send, not the headers of
TCP and IP, which take about 3 % more of a cable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf, isfinite

from cutlayer.errors import ConfigError
from cutlayer.registry import near

_RATES = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_HOW = "write rate/delay/jitter/loss, such as 20mbit/40ms/5ms/0.1%"

MOST_DELAY_S = 10.0
"""Greatest delay: more is a slip of the unit, because no request would be answered in time."""

MOST_LOSS = 0.5
"""Greatest loss: beyond it TCP hardly moves, and no model of it means anything."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network, the same for every connection through it.

    Attributes:
        name: Text that the user wrote.
        up_bps: Bits per second from the device, above 0; infinite where there is no limit.
        down_bps: Bits per second to the device.
        delay_s: Delay of every packet in either direction, 0 to `MOST_DELAY_S`.
        jitter_s: Evenly spread change of the delay of a packet to either side, at most the delay itself.
        loss: Share of the packets that do not arrive at the first attempt, 0 to `MOST_LOSS`.
        source: Source of the figures.

    Raises:
        ConfigError: A figure is out of its range.
    """

    name: str
    up_bps: float
    down_bps: float
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    source: str = "by hand"

    def __post_init__(self) -> None:
        for rate in (self.up_bps, self.down_bps):
            if not rate > 0:
                raise ConfigError(f"{self.name!r} has a rate of {rate:g} bit/s, which carries nothing; {_HOW}.")
        if not (isfinite(self.delay_s) and 0 <= self.delay_s <= MOST_DELAY_S):
            raise ConfigError(f"{self.name!r} has a delay of {self.delay_s:g} s, not 0 to {MOST_DELAY_S:g} s; {_HOW}.")
        if not 0 <= self.jitter_s <= self.delay_s:
            raise ConfigError(
                f"{self.name!r} has a jitter of {self.jitter_s:g} s, not between 0 and its delay of "
                f"{self.delay_s:g} s, around which it spreads; {_HOW}."
            )
        if not 0 <= self.loss <= MOST_LOSS:
            raise ConfigError(f"{self.name!r} has a loss of {self.loss:.4g}, not 0 % to {MOST_LOSS:.0%}; {_HOW}.")

    @property
    def rtt_s(self) -> float:
        """Round trip of a packet, without jitter."""
        return 2 * self.delay_s

    @property
    def shapes(self) -> bool:
        """Whether it changes anything: loopback does not."""
        return (self.up_bps, self.down_bps, self.delay_s, self.loss) != (inf, inf, 0.0, 0.0)

    def __str__(self) -> str:
        rates = {_rate(self.up_bps): None, _rate(self.down_bps): None}
        return f"{':'.join(rates)}/{self.delay_s * 1e3:.12g}ms/{self.jitter_s * 1e3:.12g}ms/{self.loss * 100:g}%"


NETWORKS = {
    network.name: network
    for network in (
        Network("loopback", inf, inf, source="this machine, as it is"),
        Network(
            "lan", 1e9, 1e9, 0.27e-3,
            source="rate of 1000BASE-T (IEEE 802.3ab); round trip of 0.54 ms: SLAC's PingER to a Raspberry Pi",
        ),
        Network("wifi", 15e6, 30e6, 1e-3, source="the WiFi preset of Chrome's developer tools"),
        Network(
            "lte", 12e6, 12e6, 35e-3, 5e-3,
            source="rates, round trip of 70 ms and no loss: WebPageTest's LTE; jitter: Loadero's 4G",
        ),
        Network(
            "3g", 768e3, 1.6e6, 150e-3, 50e-3,
            source="rates, round trip of 300 ms and no loss: WebPageTest's 3G; jitter: Loadero's 3G",
        ),
        Network(
            "nbiot", 62e3, 26e3, 0.8,
            source="peak rates of LTE Cat NB1 (3GPP Release 13) and the least of its latencies of 1.6 s to 10 s, "
            "as a round trip: the best that it can do",
        ),
        Network(
            "satellite", 3.38e6, 18.13e6, 315e-3,
            source="Ookla's medians of Viasat, geostationary, in the United States, second quarter of 2021: 630 ms",
        ),
    )
}  # fmt: skip
"""The named networks. Where a source states no jitter or loss, there is none here: radio links repeat what they lose,
which shows as delay. Figures that were measured at a deployment, given by hand, come nearest to it."""


def network_named(text: str) -> Network:
    """The network with a name of `NETWORKS`, or with figures by hand.

    Raises:
        ConfigError: The text is neither.
    """
    if text in NETWORKS:
        return NETWORKS[text]
    if "/" not in text and text[:1] not in set("0123456789.-+"):
        raise ConfigError(f"There is no network named {text!r}; {near(text, NETWORKS)} Or {_HOW}.")
    rates, delay, jitter, loss, *more = [*text.split("/"), *("0ms", "0ms", "0%")[text.count("/") :]]
    up, *down = [_number(rate, _RATES, "rate", text) for rate in rates.split(":")]
    if more or len(down) > 1:
        raise ConfigError(f"{text!r} has more parts than a network has; {_HOW}.")
    delay_s, jitter_s = _number(delay, _TIMES, "delay", text), _number(jitter, _TIMES, "jitter", text)
    return Network(text, up, down[0] if down else up, delay_s, jitter_s, _number(loss, {"%": 0.01}, "loss", text))


def networks_named(text: str) -> list[Network]:
    """Several networks with commas between them: ``wifi,lte,20mbit/40ms``.

    Raises:
        ConfigError: One of them is not a network, or is named twice.
    """
    named = [network_named(part.strip()) for part in text.split(",")]
    for index, network in enumerate(named):
        if network in named[:index]:
            raise ConfigError(f"The network {network.name!r} is named twice; name it once.")
    return named


def _number(text: str, units: dict[str, float], what: str, whole: str) -> float:
    """Read a figure with its unit, of either sign; `Network` checks its range."""
    match = re.fullmatch(r"([-+]?\d+(?:\.\d*)?|[-+]?\.\d+)\s*([a-z%]+)", text.strip().lower())
    if match is None or match[2] not in units:
        raise ConfigError(f"{text!r} is no {what} in {whole!r}: it needs a number and {' or '.join(units)}; {_HOW}.")
    return float(match[1]) * units[match[2]]


def _rate(bps: float) -> str:
    if bps == inf:
        return "unlimited"
    unit = next(unit for unit in ("gbit", "mbit", "kbit", "bit") if bps >= _RATES[unit] or unit == "bit")
    return f"{bps / _RATES[unit]:.12g}{unit}"
