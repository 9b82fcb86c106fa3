"""What a device may be told while it runs: which of some defenses it uses, how strongly, and with which codec.

The server of a room tells a device a wish. The device compares it with the table here and with what its own user
allows, and then obeys or says why it does not: a server cannot make a device weaker than its user permits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from cutlayer.errors import ConfigError, near
from cutlayer.registry import DEFENSES

if TYPE_CHECKING:
    from cutlayer.defenses.base import Defense

NONE = "none"

SWITCHABLE: Mapping[str, tuple[float, ...]] = {
    "gaussian-noise": (0, 0.1, 0.2, 0.5, 1, 2, 5, 10),
    "laplace-noise": (0, 0.1, 0.2, 0.5, 1, 2, 5, 10),
    "dropout": (0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99),
    "top-k": (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995),
    "quantize": (0, 8, 6, 5, 4, 3, 2, 1),
}
"""The defenses that only protect, in numpy and by one knob; of each the steps of a slider, from off to strongest.

A device takes every value between the least and the greatest of them.
"""

SWITCHABLE_CODECS = ("raw", "fp16", "int8", "int4", "top-k")

IN_JAVASCRIPT = ("gaussian-noise", "laplace-noise", "top-k", "quantize")
"""What a browser can compute as well."""

_MOST_LETTERS = 64


@dataclass(frozen=True)
class Wish:
    """A defense with its strength, and a codec.

    Attributes:
        defense: `NONE`, or a name of `SWITCHABLE`.
        options: The value of its knob by the knob's name; empty for `NONE`.
        codec: A name of `SWITCHABLE_CODECS`.
    """

    defense: str = NONE
    options: Mapping[str, float] = field(default_factory=dict)
    codec: str = "raw"

    @classmethod
    def read(cls, value: object) -> Self:
        """Read ``{"defense": ..., "options": {...}, "codec": ...}`` as it came from others.

        Raises:
            ConfigError: It is no wish, or one for what nobody can switch.
        """
        if not isinstance(value, dict) or not value.keys() <= {"defense", "options", "codec"}:
            raise ConfigError("A wish is an object with defense, options and codec.")
        defense, options, codec = value.get("defense", NONE), value.get("options", {}), value.get("codec", "raw")
        if not isinstance(codec, str) or codec not in SWITCHABLE_CODECS:
            raise ConfigError(
                f"There is no codec {codec!r:.40} to switch to; {near(str(codec)[:40], SWITCHABLE_CODECS)}"
            )
        if not isinstance(options, dict):
            raise ConfigError("The options of a wish are an object.")
        return cls(defense, checked(defense, options), codec)

    @property
    def title(self) -> str:
        """The defense as a request states it: ``none``, ``gaussian-noise sigma=0.5``."""
        return " ".join([self.defense, *(f"{name}={value:g}" for name, value in self.options.items())])

    @property
    def value(self) -> float:
        """The value of the knob; 0 without a defense."""
        return next(iter(self.options.values()), 0.0)

    @property
    def strength(self) -> float:
        """How strong the defense is: 0 where it is off, and greater where it tells less."""
        return strength(self.defense, self.value)

    def to_json(self) -> dict[str, Any]:
        """Undo `read`."""
        return {"defense": self.defense, "options": dict(self.options), "codec": self.codec}

    def make(self) -> Defense:
        """The defense itself."""
        options: dict[str, Any] = dict(self.options)
        if self.defense == "quantize":
            options = {name: int(value) for name, value in options.items()}
        defense: Defense = DEFENSES.make(self.defense, **options)
        return defense


def knob(defense: str) -> str:
    """Name of the option that says how strong a switchable defense is."""
    return str(DEFENSES.load(defense).knob)


def strength(defense: str, value: float) -> float:
    """See `Wish.strength`: the value of the knob, except of `quantize`, where fewer bits tell less."""
    if defense == "quantize":
        return 17 - value if value else 0.0
    return value


def checked(defense: object, options: Mapping[Any, Any]) -> dict[str, float]:
    """The options of a switchable defense, with the value of its knob alone.

    Raises:
        ConfigError: The defense cannot be switched, or the options are not its knob with a value in its range.
    """
    if defense == NONE and not options:
        return {}
    if not isinstance(defense, str) or defense not in SWITCHABLE:
        raise ConfigError(
            f"The defense {defense!r:.40} cannot be switched while a device runs; "
            f"{near(str(defense)[:40], (NONE, *SWITCHABLE))}"
        )
    name, steps = knob(defense), SWITCHABLE[defense]
    value = options.get(name)
    if set(options) != {name} or isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{defense} is switched by {name} alone, a number.")
    whole = defense == "quantize"
    if not min(steps) <= value <= max(steps) or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise ConfigError(
            f"{name} of {defense} must be {kind} from {min(steps):g} to {max(steps):g}; {value!r:.40} was given."
        )
    return {name: float(value)}


def stated(title: object) -> Wish | None:
    """The wish, without its codec, that a request states as its defense; None where it is another text."""
    if not isinstance(title, str) or len(title) > _MOST_LETTERS:
        return None
    defense, *options = title.split(" ")
    try:
        pairs = dict(option.split("=") for option in options)
        if len(pairs) != len(options):
            return None
        return Wish(defense, checked(defense, {name: float(text) for name, text in pairs.items()}))
    except (ValueError, ConfigError):
        return None


@dataclass(frozen=True)
class Consent:
    """What the user of a device allows.

    Attributes:
        defenses: Names of the defenses that the device may be told.
        floor: The weakest defense in use; with it, other defenses are refused.
    """

    defenses: tuple[str, ...] = tuple(SWITCHABLE)
    floor: Wish = field(default_factory=Wish)

    @classmethod
    def of(cls, allow: Sequence[str], at_least: str | None) -> Self:
        """Read ``--allow`` and ``--at-least NAME=VALUE``.

        Raises:
            ConfigError: A name or a value is none that can be switched.
        """
        for name in allow:
            if name not in SWITCHABLE:
                raise ConfigError(
                    f"--allow takes the defenses that can be switched, not {name!r:.40}; {near(name, SWITCHABLE)}"
                )
        floor = Wish()
        if at_least is not None:
            name, _, text = at_least.partition("=")
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if name not in SWITCHABLE or not math.isfinite(value):
                raise ConfigError(
                    f"--at-least takes a defense and its least strength, such as gaussian-noise=0.5; {at_least!r:.60} "
                    f"was given. The defenses: {', '.join(SWITCHABLE)}."
                )
            floor = Wish(name, checked(name, {knob(name): value}))
            if allow and name not in allow:
                raise ConfigError(f"--at-least {name} needs --allow {name} as well.")
        return cls(tuple(allow) or tuple(SWITCHABLE), floor)

    @property
    def names(self) -> tuple[str, ...]:
        """The defenses that a wish may name."""
        return (self.floor.defense,) if self.floor.strength else self.defenses

    def refusal(self, wish: Wish) -> str | None:
        """Why the device does not obey, as one sentence; None where it does."""
        asked = wish.defense if wish.strength else NONE
        if asked != NONE and asked not in self.names:
            return f"This device allows {' and '.join(self.names)} only; {asked} was asked for."
        if wish.strength < self.floor.strength:
            return f"This device does not go below {self.floor.title}."
        return None
