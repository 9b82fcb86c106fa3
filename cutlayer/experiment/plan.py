"""Plans: TOML files that describe experiments.

A plan names data, model, cuts, defenses, deployments and attacks; every combination of cut, defense and seed is one
`Experiment`. A list where one value is expected (``sigma = [0.2, 0.5]``) stands for one entry with each value.

A file such as ``mine.py:Gray`` is looked for in the folder of the plan, one in a setting in the current folder.
"""

import difflib
import itertools
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cutlayer import own
from cutlayer.attacks.view import SERVERS, Access, vantage_named
from cutlayer.bounded import read_text, reason
from cutlayer.errors import ConfigError, near
from cutlayer.experiment.spec import HEADS, Deployment, Experiment, Measure, Named, Options, Probe, Published, Training
from cutlayer.models.start import Start
from cutlayer.options import Seed, check
from cutlayer.privacy.probes import TARGETS
from cutlayer.records import expectation
from cutlayer.registry import ATTACKS, DATASETS, DEFENSES, METRICS, MODELS, STANDARD_METRICS, TRANSPORTS, Registry
from cutlayer.spec import image_shape
from cutlayer.wire.codecs.packed import codec_named, rewritten
from cutlayer.wire.connect import servable


def load(path: Path, settings: Mapping[str, str] | None = None) -> list[Experiment]:
    """Read a plan, change it by settings such as ``{"defense.sigma": "0.5"}``, and expand it.

    Raises:
        ConfigError: A key, name, option or type is unknown; the message lists the near ones.
    """
    try:
        table = tomllib.loads(read_text(Path(path)))
    except FileNotFoundError:
        raise ConfigError(f"There is no experiment file {path}.") from None
    except OSError as error:
        raise ConfigError(f"The experiment file {path} cannot be read: {reason(error)}.") from None
    except RecursionError:
        raise ConfigError(f"{path} is no valid TOML: it is nested too deeply.") from None
    except ValueError as error:
        raise ConfigError(f"{path} is no valid TOML: {reason(error)}.") from None
    table = _located(table, Path(path).parent)
    for key, value in (settings or {}).items():
        _check_setting(table, key)
        _apply(table, key, value)
    try:
        return parse(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse(table: Mapping[str, Any]) -> list[Experiment]:
    """Expand a plan that is already a table."""
    texts, sections = (
        ("name", "claim"),
        ("training", "measure", "defense", "deployment", "attack", "probe", "published"),
    )
    _only(table, {*texts, "data", "input", "model", "cut", "seed", "expect", *sections}, "key")
    for key in ("data", "model", "cut"):
        if key not in table:
            raise ConfigError(f"The key {key!r} is missing.")
    for key in ("name", "claim", "data", "input"):
        check(key, str, table.get(key, ""))
    model, start = _model(table["model"])
    if not (DATASETS.takes(table["data"]) and MODELS.takes(model)):
        _ = DATASETS[table["data"]], MODELS[model]
    how = table.get("training", {})
    if start.weights and isinstance(how, dict):
        # What has weights is trained further only if the plan says how long.
        how = {"epochs": 0, **how}
    common = {
        "training": _record(Training, how, "training"),
        "start": start,
        "measure": _record(Measure, table.get("measure", {}), "measure"),
        "deployments": tuple(_deployments(table.get("deployment", [{}]))),
        "attacks": tuple(_named(ATTACKS, table.get("attack", [{"name": "mean-image"}]))),
        "probes": tuple(_probes(table)),
        "published": tuple(_record(Published, entry, "published") for entry in _published(table)),
    }
    for names in ([attack.key for attack in common["attacks"]], [attack.label for attack in common["attacks"]]):
        if len(set(names)) < len(names):
            raise ConfigError(f"Two attacks are {max(names, key=names.count)!r}; let them differ, or drop one.")
    if (other := common["measure"].auxiliary_data) and not DATASETS.takes(other):
        _ = DATASETS[other]
    codec_named(common["measure"].codec)
    _ = Access.named(common["measure"].access), vantage_named(common["measure"].vantage)
    if (common["measure"].vantage == SERVERS.name) != (common["measure"].servers > 1):
        raise ConfigError(
            f"The vantage {SERVERS.name} is that of 2 servers or more, and others that of one; measure.vantage is "
            f"{common['measure'].vantage!r}, and measure.servers is {common['measure'].servers}."
        )
    metrics = common["measure"].metrics
    labels = [*METRICS, *map(METRICS.label, filter(METRICS.is_own, metrics))]
    if len(set(labels)) < len(labels):
        raise ConfigError(f"There is another metric {max(labels, key=labels.count)!r}; name yours differently.")
    for metric in metrics:
        METRICS.load(metric)
        if metrics.count(metric) > 1:
            raise ConfigError(f"measure.metrics names {metric!r} twice.")
    common |= {key: table[key] for key in (*texts, "input") if key in table}
    if table.get("input"):
        image_shape(table["input"])
    cuts, seeds = _listed("cut", str, table["cut"], some=True), _listed("seed", Seed, table.get("seed", 0), some=True)
    defenses = list(_named(DEFENSES, table.get("defense", [{"name": "none"}])))
    common["expect"] = tuple(_listed("expect", str, table.get("expect", [])))
    # The plan that a run keeps of itself has one defense, and expectations of the others as well.
    labels = [defense.label for defense in defenses] if defenses[1:] else []
    for text in common["expect"]:
        measured = (*STANDARD_METRICS, *map(METRICS.label, metrics))
        expectation.check(text, labels, [attack.label for attack in common["attacks"]], measured)
    experiments = [
        Experiment(table["data"], model, cut, seed=seed, defense=defense, **common)
        for cut, defense, seed in itertools.product(cuts, defenses, seeds)
    ]
    return list({experiment.id: experiment for experiment in experiments}.values())


def attacks_named(names: Sequence[str]) -> tuple[Named, ...]:
    """Attacks by name, with their default options.

    Raises:
        ConfigError: There is no attack of that name.
    """
    return tuple(_named(ATTACKS, [{"name": own.resolved(name, Path.cwd())} for name in names]))


def _probes(table: Mapping[str, Any]) -> Iterator[Probe]:
    entries = _tables("probe", table["probe"]) if table.get("probe", []) != [] else []
    for options in itertools.chain.from_iterable(map(_expand, entries)):
        if "target" not in options:
            raise ConfigError(f"Each [[probe]] needs a target: {', '.join(TARGETS)}.")
        entry: Probe = _record(Probe, options, "probe")
        if entry.target not in TARGETS:
            raise ConfigError(f"There is no probe named {entry.target!r:.80}; {near(entry.target, TARGETS)}")
        yield entry


def _published(table: Mapping[str, Any]) -> list[Options]:
    return _tables("published", table["published"]) if table.get("published", []) != [] else []


def _model(value: Any) -> tuple[str, Start]:
    """The name of the model and how it begins, from ``model = "NAME"`` or the table ``[model]``."""
    if not isinstance(value, dict):
        check("model", str, value)
        return value, Start()
    _only(value, {"name", *(f.name for f in fields(Start))}, "model key")
    if "name" not in value:
        raise ConfigError("[model] needs a name.")
    check("model.name", str, value["name"])
    numbers = {key: tuple(map(float, _listed(f"model.{key}", float, value.get(key, [])))) for key in ("mean", "std")}
    check("model.weights", str, value.get("weights", ""))
    start = Start(value.get("weights", ""), **numbers)
    if start.weights and not Path(start.weights).exists():
        raise ConfigError(f"There is no file {start.weights} with weights.")
    return value["name"], start


def share(experiments: list[Experiment], part: str) -> list[Experiment]:
    """Every Nth experiment from the Kth on, for ``K/N``.

    Raises:
        ConfigError: It is not of this form, or K is not among 1 to N.
    """
    match = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", part)
    if match is None or int(match[1]) > int(match[2]):
        raise ConfigError(f"--part must be such as 1/2 or 2/2, not {part!r:.80}.")
    return experiments[int(match[1]) - 1 :: int(match[2])]


def _deployments(entries: list[Options]) -> Iterator[Deployment]:
    for options in itertools.chain.from_iterable(map(_expand, _tables("deployment", entries))):
        deployment: Deployment = _record(Deployment, options, "deployment")
        _ = TRANSPORTS[deployment.transport]
        if deployment.transport not in (served := servable()):
            raise ConfigError(
                f"deployment.transport must be {' or '.join(served)}, over which our server can be reached from "
                f"another process; {deployment.transport!r:.80} was given."
            )
        if deployment.head not in HEADS:
            raise ConfigError(f"There is no head named {deployment.head!r:.80}; {near(deployment.head, HEADS)}")
        yield deployment


def _named(registry: Registry, entries: Any) -> Iterator[Named]:
    """Check each entry against the registry; leave out the options that equal their defaults."""
    for entry in _tables(registry.kind, entries):
        if "name" not in entry:
            raise ConfigError(f"Each [[{registry.kind}]] needs a name.")
        check(f"{registry.kind}.name", str, entry["name"])
        accepted = registry.options(entry["name"])
        lists = {key for key, parameter in accepted.items() if isinstance(parameter.default, tuple)}
        if registry is DEFENSES and "then" in entry:
            followers = [{"name": follower.name, **follower.options} for follower in _named(registry, entry["then"])]
            entry, lists = {**entry, "then": followers}, lists - {"then"}
        for options in _expand(entry, lists):
            name, title, then = options.pop("name"), options.pop("title", ""), options.pop("then", None)
            check("title", str, title)
            options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
            registry.make(name, **options)
            changed = {k: v for k, v in options.items() if v != accepted[k].default}
            yield Named(name, changed | ({"then": then} if then else {}), title)


def _expand(entry: Options, lists: AbstractSet[str] = frozenset()) -> Iterator[Options]:
    """One entry for each combination of the values in its lists; an option in `lists` takes a list as one value."""
    for key, value in entry.items():
        if value == []:
            raise ConfigError(f"{key} is an empty list; it needs a value.")
    axes = [[(k, x) for x in v] if isinstance(v, list) and k not in lists else [(k, v)] for k, v in entry.items()]
    return (dict(choice) for choice in itertools.product(*axes))


def _tables(kind: str, entries: Any) -> list[Options]:
    entries = [entries] if isinstance(entries, dict) else entries
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not entries:
        raise ConfigError(f"{kind} must be a table [{kind}] or a list of tables [[{kind}]].")
    return entries


def _record(kind: type, options: Any, where: str) -> Any:
    """A dataclass from a table, with names and types checked."""
    if not isinstance(options, dict):
        raise ConfigError(f"{where} must be a table.")
    accepted = {f.name: f for f in fields(kind)}
    _only(options, set(accepted), f"{where} key")
    listed = {key for key, f in accepted.items() if isinstance(f.default, tuple)}
    options = {k: tuple(_listed(f"{where}.{k}", str, v)) if k in listed else v for k, v in options.items()}
    for key, value in options.items():
        check(f"{where}.{key}", accepted[key].type, value)
    try:
        return kind(**options)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}.") from None


def _listed(where: str, kind: Any, value: Any, *, some: bool = False) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if some and not values:
        raise ConfigError(f"{where} is an empty list; it needs a value.")
    for entry in values:
        check(where, kind, entry)
    return values


def _only(table: Mapping[str, Any], known: set[str], what: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"Unknown {what} {key!r:.80}; {near(key, sorted(known))}")


def _located(value: Any, folder: Path, key: str = "") -> Any:
    """The value of a key, with the files of names such as ``mine.py:Gray`` looked for in a folder."""
    if isinstance(value, dict):
        return {inner: _located(entry, folder, inner) for inner, entry in value.items()}
    if isinstance(value, list):
        return [_located(entry, folder, key) for entry in value]
    if not isinstance(value, str) or key in ("claim", "expect", "title", "source"):
        return value
    if key == "weights" and value:
        return os.path.abspath(folder / Path(value).expanduser())
    if key == "data" or (key == "auxiliary_data" and value):
        return DATASETS.resolved(value, folder)
    if key == "codec":
        return rewritten(value, lambda name: own.resolved(name, folder))
    return own.resolved(value, folder)


def _check_setting(table: Mapping[str, Any], key: str) -> None:
    """Refuse a key that no plan has, with the full names of those that are near: ``training.epochs`` for ``epochs``."""
    kinds = {
        "training": Training,
        "measure": Measure,
        "deployment": Deployment,
        "model": Start,
        "probe": Probe,
        "published": Published,
    }
    known = [*KEYS, *(f"{section}.{f.name}" for section, kind in kinds.items() for f in fields(kind)), "model.name"]
    for head, registry in (("defense", DEFENSES), ("attack", ATTACKS)):
        entries = _tables(head, table.get(head, [{"name": "none"}] if head == "defense" else [{"name": "mean-image"}]))
        options = {option for entry in entries for option in registry.options(str(entry.get("name")))}
        known += [f"{head}.{option}" for option in ("name", "title", "then", *sorted(options))]
    head, _, last = key.rpartition(".")
    if key in known or key in {name.partition(".")[0] for name in known}:
        return
    close = [name for name in known if name.rpartition(".")[2] == last]
    close = close or difflib.get_close_matches(key, known, cutoff=0.75)
    if close:
        hint = f"did you mean {' or '.join(close[:3])}?"
    elif siblings := [name for name in known if head and name.startswith(f"{head}.")]:
        hint = f"known: {', '.join(siblings)}."
    else:
        hint = "it takes the keys of a plan, such as seed, training.epochs or measure.codec."
    raise ConfigError(f"--set knows no {key!r} in this plan; {hint}")


def _apply(table: dict[str, Any], key: str, text: str) -> None:
    """Set one value: ``seed``, ``training.epochs``, or an option of every defense or attack that has it."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    head, _, rest = key.partition(".")
    value = _located(value, Path.cwd(), rest or head)
    registries = {"defense": DEFENSES, "attack": ATTACKS}
    if head in registries and rest:
        entries = _tables(head, table.get(head, []))
        for entry in entries:
            if rest in ("name", "title", "then") or rest in registries[head].options(entry.get("name", "none")):
                entry[rest] = value
    elif rest:
        if head == "model" and isinstance(table.get(head), str):
            table[head] = {"name": table[head]}
        section = table.setdefault(head, {})
        for entry in section if isinstance(section, list) else [section]:
            if not isinstance(entry, dict):
                raise ConfigError(f"{key}: {head} is a value, not a table.")
            entry[rest] = value
    else:
        table[head] = value


KEYS = ("name", "claim", "expect", "data", "input", "model", "cut", "seed")
"""The keys of a plan that are no tables."""


def toml(experiment: Experiment) -> str:
    """The experiment as a plan of one, which `plan.load` reads back to the same id."""
    start = {key: value for key, value in asdict(experiment.start).items() if value}
    stated = {*KEYS} - ({"model"} if start else set()) - (set() if experiment.input else {"input"})
    lines = [f"{key} = {_value(getattr(experiment, key))}" for key in KEYS if key in stated]
    sections: list[tuple[str, dict[str, Any]]] = [
        *([("[model]", {"name": experiment.model, **start})] if start else []),
        ("[training]", asdict(experiment.training)),
        ("[measure]", asdict(experiment.measure)),
        *(("[[deployment]]", asdict(deployment)) for deployment in experiment.deployments),
        ("[[defense]]", _entry(experiment.defense)),
        *(("[[attack]]", _entry(attack)) for attack in experiment.attacks),
        *(("[[probe]]", asdict(probe)) for probe in experiment.probes),
        *(("[[published]]", asdict(published)) for published in experiment.published),
    ]
    for header, table in sections:
        lines += ["", header, *(f"{key} = {_value(value)}" for key, value in table.items() if value is not None)]
    return "\n".join(lines) + "\n"


def _entry(named: Named) -> Options:
    return {"name": named.name, "title": named.title or None, **named.options}


def _value(value: Any) -> str:
    """A TOML value; JSON's strings, numbers, booleans and lists are TOML's too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
