"""Network profiles: named ones with their sources, or four values by hand.

wifi                          a name of `NETWORKS`
20mbit/40ms/5ms/0.1%          rate, delay, jitter and loss; values that are left out are 0
12mbit:50mbit/35ms            different rates up, from the device, and down

The delay is one way; a round trip takes it twice. A rate counts the bytes that programs send, without the headers of
TCP and IP, which take about 3 % more of a cable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf, isfinite

from cutlayer.errors import ConfigError, near

_RATES = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_TIMES = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_HOW = "write rate/delay/jitter/loss, such as 20mbit/40ms/5ms/0.1%"

MOST_DELAY_S = 10.0
"""A longer delay is probably a wrong unit: no request would be answered in time."""

MOST_LOSS = 0.5
"""Greatest loss: with more TCP hardly transmits, and no model of it is meaningful."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network, the same for every connection through it.

    Attributes:
        name: Name or values, as the user wrote them.
        up_bps: Bits per second from the device, above 0; infinite for no limit.
        down_bps: Bits per second to the device, above 0; infinite for no limit.
        delay_s: Delay of every packet in either direction in seconds, 0 to `MOST_DELAY_S`.
        jitter_s: Half width of the uniform distribution of the delay in seconds, at most the delay.
        loss: Share of the packets that do not arrive at the first attempt, 0 to `MOST_LOSS`.
        source: Source of the values.

    Raises:
        ConfigError: A value is out of its range.
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
                raise ConfigError(f"{self.name!r} has a rate of {rate:g} bit/s, which must be above 0; {_HOW}.")
        if not (isfinite(self.delay_s) and 0 <= self.delay_s <= MOST_DELAY_S):
            raise ConfigError(f"{self.name!r} has a delay of {self.delay_s:g} s, not 0 to {MOST_DELAY_S:g} s; {_HOW}.")
        if not 0 <= self.jitter_s <= self.delay_s:
            raise ConfigError(
                f"{self.name!r} has a jitter of {self.jitter_s:g} s, which must be between 0 and its delay of "
                f"{self.delay_s:g} s; {_HOW}."
            )
        if not 0 <= self.loss <= MOST_LOSS:
            raise ConfigError(f"{self.name!r} has a loss of {self.loss:.4g}, not 0 % to {MOST_LOSS:.0%}; {_HOW}.")

    @property
    def rtt_s(self) -> float:
        """Round trip of a packet in seconds, without jitter."""
        return 2 * self.delay_s

    @property
    def shapes(self) -> bool:
        """Whether the network changes anything, which loopback does not."""
        return (self.up_bps, self.down_bps, self.delay_s, self.loss) != (inf, inf, 0.0, 0.0)

    def __str__(self) -> str:
        rates = {_rate(self.up_bps): None, _rate(self.down_bps): None}
        return f"{':'.join(rates)}/{_time(self.delay_s)}/{_time(self.jitter_s)}/{self.loss * 100:g}%"


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
"""Networks by name. If a source states no jitter or loss, it is 0: radio links repeat lost packets, which shows as
delay. For a deployment, values measured there and written by hand are the most accurate."""


def network_named(text: str) -> Network:
    """Return the network with this name or these values.

    Raises:
        ConfigError: The text is neither a name nor values.
    """
    if text in NETWORKS:
        return NETWORKS[text]
    if "/" not in text and text[:1] not in set("0123456789.-+"):
        raise ConfigError(f"There is no network named {text!r}; {near(text, NETWORKS)} Or {_HOW}.")
    rates, delay, jitter, loss, *more = [*text.split("/"), *("0ms", "0ms", "0%")[text.count("/") :]]
    up, *down = [_number(rate, _RATES, "rate", text) for rate in rates.split(":")]
    if more or len(down) > 1:
        raise ConfigError(f"{text!r} has too many parts; {_HOW}.")
    return Network(
        text,
        up,
        down[0] if down else up,
        _number(delay, _TIMES, "delay", text),
        _number(jitter, _TIMES, "jitter", text),
        _number(loss, {"%": 0.01}, "loss", text),
    )


def networks_named(text: str) -> list[Network]:
    """Return several networks, separated by commas: ``wifi,lte,20mbit/40ms``.

    Raises:
        ConfigError: A network is not valid, or is named twice.
    """
    networks = [network_named(part.strip()) for part in text.split(",")]
    for index, network in enumerate(networks):
        if network in networks[:index]:
            raise ConfigError(f"The network {network.name!r} is named twice; name it once.")
    return networks


def _number(text: str, units: dict[str, float], what: str, network: str) -> float:
    """Return a value with its unit. It may be negative, which `Network` refuses."""
    match = re.fullmatch(r"([-+]?\d+(?:\.\d*)?|[-+]?\.\d+)\s*([a-z%]+)", text.strip().lower())
    if match is None or match[2] not in units:
        raise ConfigError(
            f"{text!r} is not a {what} in {network!r}; give a number with {' or '.join(units)}, or {_HOW}."
        )
    return float(match[1]) * units[match[2]]


def _rate(bps: float) -> str:
    if bps == inf:
        return "unlimited"
    unit = next(unit for unit in ("gbit", "mbit", "kbit", "bit") if bps >= _RATES[unit] or unit == "bit")
    return f"{bps / _RATES[unit]:.12g}{unit}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.12g}ms"
