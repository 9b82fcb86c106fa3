"""What plans are made of: TOML tables whose keys, types and names are checked, with sentences for what is wrong.

A plan of experiments and a plan of a training are read with the same functions, and describe a defense in the same way.
"""

from __future__ import annotations

import difflib
import itertools
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from cutlayer import own
from cutlayer.bounded import read_text, reason
from cutlayer.errors import ConfigError, near
from cutlayer.options import check
from cutlayer.registry import DATASETS, DEFENSES, Registry
from cutlayer.wire.codecs.packed import rewritten

Options = dict[str, Any]


@dataclass(frozen=True)
class Named:
    """A defense or an attack: its name in the registry and the options that differ from the defaults.

    Attributes:
        name: Name in the registry.
        options: Options that differ from their defaults; for a defense also `then`, the one that follows it.
        title: Title in place of the name and its options.
    """

    name: str
    options: Options = field(default_factory=dict)
    title: str = ""

    @property
    def key(self) -> str:
        """Name and options: ``gaussian-noise sigma=0.5``, ``mine.py:Halve then gaussian-noise sigma=0.1``."""
        return _text({"name": self.name, **self.options}, own.place)

    @property
    def label(self) -> str:
        """Title in records and tables; of what is not part of cutlayer the name of the class."""
        return self.title or _text({"name": self.name, **self.options}, own.attribute)


UNDEFENDED = Named("none")


def _text(options: Options, shown: Callable[[str], str]) -> str:
    text = shown(str(options["name"]))
    for key, value in options.items():
        if key not in ("name", "then"):
            if isinstance(value, tuple):
                nested = [_text(entry, shown) for entry in value if isinstance(entry, dict) and "name" in entry]
                value = " + ".join(nested) if nested else ",".join(map(str, value))
            text += f" {key}={shown(value) if names_something(key, value) else value}"
    return f"{text} then {_text(options['then'], shown)}" if "then" in options else text


def names_something(key: str, value: Any) -> bool:
    """Whether an option is a name as in a registry: an attack that another one wraps, or anything in a file."""
    return isinstance(value, str) and (key in ("name", "attack") or own.FILE.fullmatch(value) is not None)


def read(path: Path, what: str = "experiment") -> Options:
    """The table in a TOML file, in which the files of names such as ``mine.py:Gray`` are those beside it.

    Args:
        path: The file.
        what: What the file describes, for messages.

    Raises:
        ConfigError: The file is missing, cannot be read, or is no TOML.
    """
    try:
        table = tomllib.loads(read_text(Path(path)))
    except FileNotFoundError:
        raise ConfigError(f"There is no {what} file {path}.") from None
    except OSError as error:
        raise ConfigError(f"The {what} file {path} cannot be read: {reason(error)}.") from None
    except RecursionError:
        raise ConfigError(f"{path} is no valid TOML: it is nested too deeply.") from None
    except ValueError as error:
        raise ConfigError(f"{path} is no valid TOML: {reason(error)}.") from None
    located_table: Options = located(table, Path(path).parent)
    return located_table


def named(registry: Registry, entries: Any) -> Iterator[Named]:
    """Check each entry against the registry; leave out the options that equal their defaults."""
    for entry in tables(registry.kind, entries):
        if "name" not in entry:
            raise ConfigError(f"Each [[{registry.kind}]] needs a name.")
        check(f"{registry.kind}.name", str, entry["name"])
        accepted = registry.options(entry["name"])
        lists = {key for key, parameter in accepted.items() if isinstance(parameter.default, tuple)}
        if registry is DEFENSES and "then" in entry:
            followers = [{"name": follower.name, **follower.options} for follower in named(registry, entry["then"])]
            entry, lists = {**entry, "then": followers}, lists - {"then"}
        for options in expand(entry, lists):
            name, title, then = options.pop("name"), options.pop("title", ""), options.pop("then", None)
            check("title", str, title)
            options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
            registry.make(name, **options)
            changed = {k: v for k, v in options.items() if v != accepted[k].default}
            yield Named(name, changed | ({"then": then} if then else {}), title)


def expand(entry: Options, lists: AbstractSet[str] = frozenset()) -> Iterator[Options]:
    """One entry for each combination of the values in its lists; an option in `lists` takes a list as one value."""
    for key, value in entry.items():
        if value == []:
            raise ConfigError(f"{key} is an empty list; it needs a value.")
    axes = [[(k, x) for x in v] if isinstance(v, list) and k not in lists else [(k, v)] for k, v in entry.items()]
    return (dict(choice) for choice in itertools.product(*axes))


def tables(kind: str, entries: Any) -> list[Options]:
    """One table, or a list of tables, as a list."""
    entries = [entries] if isinstance(entries, dict) else entries
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not entries:
        raise ConfigError(f"{kind} must be a table [{kind}] or a list of tables [[{kind}]].")
    return entries


def record(kind: type, options: Any, where: str) -> Any:
    """A dataclass from a table, with names and types checked."""
    if not isinstance(options, dict):
        raise ConfigError(f"{where} must be a table.")
    accepted = {f.name: f for f in fields(kind)}
    only(options, set(accepted), f"{where} key")
    several = {key for key, f in accepted.items() if isinstance(f.default, tuple)}
    options = {k: tuple(listed(f"{where}.{k}", str, v)) if k in several else v for k, v in options.items()}
    for key, value in options.items():
        check(f"{where}.{key}", accepted[key].type, value)
    needed = [f.name for f in accepted.values() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [key for key in needed if key not in options]:
        raise ConfigError(f"{where} needs the key {missing[0]!r}.")
    return kind(**options)


def listed(where: str, kind: Any, value: Any, *, some: bool = False) -> list[Any]:
    """One value, or a list of values, as a list in which each has the given type."""
    values = value if isinstance(value, list) else [value]
    if some and not values:
        raise ConfigError(f"{where} is an empty list; it needs a value.")
    for entry in values:
        check(where, kind, entry)
    return values


def only(table: Mapping[str, Any], known: set[str], what: str) -> None:
    """Refuse a key that is not known, with the names that are near."""
    for key in table:
        if key not in known:
            raise ConfigError(f"Unknown {what} {key!r:.80}; {near(key, sorted(known))}")


def located(value: Any, folder: Path, key: str = "") -> Any:
    """The value of a key, with the files of names such as ``mine.py:Gray`` looked for in a folder."""
    if isinstance(value, dict):
        return {inner: located(entry, folder, inner) for inner, entry in value.items()}
    if isinstance(value, list):
        return [located(entry, folder, key) for entry in value]
    if not isinstance(value, str) or key in ("claim", "expect", "title", "source"):
        return value
    if key == "weights" and value:
        return os.path.abspath(folder / Path(value).expanduser())
    if key == "data" or (key == "auxiliary_data" and value):
        return DATASETS.resolved(value, folder)
    if key == "codec":
        return rewritten(value, lambda name: own.resolved(name, folder))
    return own.resolved(value, folder)


def set_value(
    table: Options, key: str, text: str, known: Sequence[str], what: str, *, open: Sequence[str] = ()
) -> None:
    """Set one value of a plan, as ``--set KEY=VALUE`` does: ``seed``, or ``optimizer.lr`` of the table ``[optimizer]``.

    Args:
        table: The plan, which is changed.
        key: The key.
        text: The value as TOML; what is none is a text.
        known: The keys that the plan may have.
        what: What the plan describes, for messages.
        open: Tables whose keys are checked later, such as the options of a defense.

    Raises:
        ConfigError: The key is unknown; the message names those that are near.
    """
    head, _, rest = key.partition(".")
    if key not in known and not (rest and head in open):
        close = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
        close = close or difflib.get_close_matches(key, known, cutoff=0.7)
        hint = f"did you mean {' or '.join(close[:3])}?" if close else f"known: {', '.join(known)}."
        raise ConfigError(f"--set knows no {key!r:.80} in {what}; {hint}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    value = located(value, Path.cwd(), rest or head)
    if not rest:
        table[key] = value
        return
    if isinstance(table.get(head), str):
        table[head] = {"name": table[head]}
    section = table.setdefault(head, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{key}: {head} is not one table.")
    section[rest] = value


def toml_value(value: Any) -> str:
    """A TOML value; JSON's strings, numbers, booleans and lists are TOML's too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_value(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
