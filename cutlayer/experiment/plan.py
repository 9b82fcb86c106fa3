"""Plans: TOML files that describe experiments.

A plan names data, models, cuts, codecs, defenses, deployments and attacks; every combination of data, model, cut,
codec, defense and seed is one `Experiment`. A list where one value is expected (``sigma = [0.2, 0.5]``) stands for one
entry with each value. The table of a model may have a ``cut`` of its own.

A file such as ``mine.py:Gray`` is looked for in the folder of the plan, one in a setting in the current folder.
"""

import difflib
import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cutlayer import own
from cutlayer.errors import ConfigError, DataError, SplitError, WithheldError, near
from cutlayer.experiment import axes
from cutlayer.experiment.spec import HEADS, Deployment, Experiment, Measure, Probe, Published, Training
from cutlayer.models.start import Start
from cutlayer.options import Seed, check
from cutlayer.privacy.probes import TARGETS
from cutlayer.records import expectation
from cutlayer.registry import ATTACKS, DATASETS, DEFENSES, METRICS, MODELS, STANDARD_METRICS, TRANSPORTS
from cutlayer.spec import input_shape
from cutlayer.tables import Named, Options, expand, listed, located, named, only, read, record, tables, toml_value
from cutlayer.wire.connect import servable


def load(path: Path, settings: Mapping[str, str] | None = None) -> list[Experiment]:
    """Read a plan, change it by settings such as ``{"defense.sigma": "0.5"}``, and expand it.

    Raises:
        ConfigError: A key, name, option or type is unknown; the message lists the near ones.
    """
    table = read(Path(path))
    if "protocol" in table:
        raise ConfigError(
            f"{path} is a plan of a training, and not of experiments; run it with `cutlayer train {path}`."
        )
    if "update" in table:
        raise ConfigError(f"{path} is a plan of a study of updates; run it with `cutlayer gradients {path}`.")
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
    only(table, {*texts, "data", "input", "model", "cut", "seed", "expect", *sections}, "key")
    for key in ("data", "model"):
        if key not in table:
            raise ConfigError(f"The key {key!r} is missing.")
    for key in ("name", "claim", "input"):
        check(key, str, table.get(key, ""))
    data_sets = listed("data", str, table["data"], some=True)
    victims = [axes.victim(entry, table) for entry in axes.models(table["model"])]
    _ = [DATASETS.takes(name) or DATASETS[name] for name in data_sets]
    _ = [MODELS.takes(victim["model"]) or MODELS[victim["model"]] for victim, _ in victims]
    measures = axes.measures(table.get("measure", {}))
    common: dict[str, Any] = {
        "deployments": tuple(_deployments(table.get("deployment", [{}]))),
        "attacks": tuple(named(ATTACKS, table.get("attack", [{"name": "mean-image"}]))),
        "probes": tuple(_probes(table)),
        "published": tuple(record(Published, entry, "published") for entry in _published(table)),
    }
    for names in ([attack.key for attack in common["attacks"]], [attack.label for attack in common["attacks"]]):
        if len(set(names)) < len(names):
            raise ConfigError(f"Two attacks are {max(names, key=names.count)!r}; let them differ, or drop one.")
    common |= {key: table[key] for key in (*texts, "input") if key in table}
    if table.get("input"):
        input_shape(table["input"])
    seeds = listed("seed", Seed, table.get("seed", 0), some=True)
    defenses = list(named(DEFENSES, table.get("defense", [{"name": "none"}])))
    common["expect"] = tuple(listed("expect", str, table.get("expect", [])))
    # The plan that a run keeps of itself has one defense, and expectations of the others as well.
    labels = [defense.label for defense in defenses] if defenses[1:] else []
    for text in common["expect"]:
        measured = (*STANDARD_METRICS, *map(METRICS.label, measures[0].metrics))
        expectation.check(text, labels, [attack.label for attack in common["attacks"]], measured)
    experiments = [
        Experiment(data, cut=cut, measure=measure, defense=defense, seed=seed, **victim, **common)
        for data, (victim, cuts) in itertools.product(data_sets, victims)
        for cut, measure, defense, seed in itertools.product(cuts, measures, defenses, seeds)
    ]
    return list({experiment.id: experiment for experiment in experiments}.values())


@contextmanager
def naming(path: Path | None) -> Iterator[None]:
    """Within it, errors about what a plan asks for name its file, where there is one."""
    try:
        yield
    except (ConfigError, DataError, SplitError, WithheldError) as error:
        if path is None:
            raise
        raise type(error)(f"{path}: {error}") from error


def attacks_named(names: Sequence[str]) -> tuple[Named, ...]:
    """Attacks by name, with their default options.

    Raises:
        ConfigError: There is no attack of that name.
    """
    return tuple(named(ATTACKS, [{"name": own.resolved(name, Path.cwd())} for name in names]))


def _probes(table: Mapping[str, Any]) -> Iterator[Probe]:
    entries = tables("probe", table["probe"]) if table.get("probe", []) != [] else []
    for options in itertools.chain.from_iterable(map(expand, entries)):
        if "target" not in options:
            raise ConfigError(f"Each [[probe]] needs a target: {', '.join(TARGETS)}.")
        entry: Probe = record(Probe, options, "probe")
        if entry.target not in TARGETS:
            raise ConfigError(f"There is no probe named {entry.target!r:.80}; {near(entry.target, TARGETS)}")
        yield entry


def _published(table: Mapping[str, Any]) -> list[Options]:
    return tables("published", table["published"]) if table.get("published", []) != [] else []


def _deployments(entries: list[Options]) -> Iterator[Deployment]:
    for options in itertools.chain.from_iterable(map(expand, tables("deployment", entries))):
        deployment: Deployment = record(Deployment, options, "deployment")
        _ = TRANSPORTS[deployment.transport]
        if deployment.transport not in (served := servable()):
            raise ConfigError(
                f"deployment.transport must be {' or '.join(served)}, over which our server can be reached from "
                f"another process; {deployment.transport!r:.80} was given."
            )
        if deployment.head not in HEADS:
            raise ConfigError(f"There is no head named {deployment.head!r:.80}; {near(deployment.head, HEADS)}")
        yield deployment


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
    known = [
        *KEYS,
        *(f"{section}.{f.name}" for section, kind in kinds.items() for f in fields(kind)),
        "model.name",
        "model.cut",
    ]
    for head, registry in (("defense", DEFENSES), ("attack", ATTACKS)):
        entries = tables(head, table.get(head, [{"name": "none"}] if head == "defense" else [{"name": "mean-image"}]))
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
    value = located(value, Path.cwd(), rest or head)
    registries = {"defense": DEFENSES, "attack": ATTACKS}
    if head in registries and rest:
        entries = tables(head, table.get(head, []))
        for entry in entries:
            if rest in ("name", "title", "then") or rest in registries[head].options(entry.get("name", "none")):
                entry[rest] = value
    elif rest:
        if head == "model" and head in table:
            table[head] = [{"name": entry} if isinstance(entry, str) else entry for entry in axes.models(table[head])]
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
    lines = [f"{key} = {toml_value(getattr(experiment, key))}" for key in KEYS if key in stated]
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
        lines += ["", header, *(f"{key} = {toml_value(value)}" for key, value in table.items() if value is not None)]
    return "\n".join(lines) + "\n"


def _entry(named: Named) -> Options:
    return {"name": named.name, "title": named.title or None, **named.options}
