"""The plan of a training: everything that determines its result, as frozen data, and its TOML form.

data = "mnist"
model = "lenet"
cut = "pool1"
protocol = "splitfed-v1"
clients = 10
rounds = 6

[partition]
name = "dirichlet"
alpha = 0.1
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

from cutlayer.data.partition import IID, LAWS, Partition
from cutlayer.defenses.shared.beside import LearnsBeside
from cutlayer.errors import ConfigError, near
from cutlayer.options import Batch, Count, LearningRate, Seed, Share, Threads, Weight, Whole, Within, check
from cutlayer.protocols.row import CHOICES, Protocol, protocol_named
from cutlayer.protocols.update_defense import check_update_defense
from cutlayer.registry import (
    CODECS,
    DATASETS,
    DEFENSES,
    DETECTORS,
    GRADIENT_DEFENSES,
    MODELS,
    UPDATE_DEFENSES,
    Registry,
    defense_from,
)
from cutlayer.spec import input_shape
from cutlayer.tables import UNDEFENDED, Named, Options, named, only, read, record, set_value, toml_value
from cutlayer.wire.codecs.packed import codec_named, rewritten

OPTIMIZERS = ("sgd", "adam", "adamw")
_DEFENSES = {"defense": DEFENSES, "gradient_defense": GRADIENT_DEFENSES, "update_defense": UPDATE_DEFENSES}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer_state": ("keep", "reset", "average"),
    "weighting": ("samples", "uniform"),
    "bn": ("shared", "local", "statistics-local", "replaced"),
    "stragglers": ("wait", "drop", "replace"),
}


@dataclass(frozen=True)
class Optimizer:
    """How each party steps.

    Attributes:
        name: sgd, adam or adamw.
        lr: Learning rate.
        momentum: Momentum of sgd.
        weight_decay: Weight decay.
    """

    name: str = "adam"
    lr: LearningRate = 1e-3
    momentum: Annotated[float, Within(0, 1)] = 0.0
    weight_decay: Annotated[float, Within(0, 1000)] = 0.0


@dataclass(frozen=True)
class Wire:
    """How tensors travel.

    Attributes:
        smashed: Codec of the smashed data, up.
        gradient: Codec of the gradients at the cut, down.
        error_feedback: Add what a codec of gradients has lost to the next gradient.
    """

    smashed: str = "raw"
    gradient: str = "raw"
    error_feedback: bool = False


@dataclass(frozen=True)
class Privacy:
    """DP-SGD for the weights that clients deliver; see `cutlayer.protocols.private`.

    Attributes:
        clip: Bound on the length of the gradient of one unit in a batch; 0 for no DP-SGD.
        noise: Standard deviation of the noise over `clip`.
        delta: Probability with which the stated epsilon does not hold.
        unit: What is hidden: a `record`, or a `class`, all samples of one client that have one label.
        label_epsilon: Epsilon of the labels that clients send; 0 for the true ones. It needs no `clip`; see
            `cutlayer.protocols.label_privacy`.
    """

    clip: Weight = 0.0
    noise: Weight = 1.0
    delta: Annotated[float, Within(0, 1, above=True)] = 1e-5
    unit: str = "record"
    label_epsilon: Annotated[float, Within(0, 1000)] = 0.0


@dataclass(frozen=True)
class Masking:
    """Secure aggregation; see `cutlayer.protocols.masking`.

    Attributes:
        peers: Each client shares masks with so many others, or with all if there are fewer.
        bits: Bits behind the point of the numbers that are summed; weights are within ±2**(31 - bits).
    """

    peers: Annotated[int, Within(1, 10_000)] = 10_000
    bits: Annotated[int, Within(1, 30)] = 20


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that determines the result of a training. Equal plans have equal ids.

    Attributes:
        data: A name from `cutlayer list datasets`, or a path.
        model: A name from `cutlayer list models`.
        cut: Name of the cut at which a client's head ends; of no account for protocols without a tail.
        cuts: The cut of each client, where they differ; empty where all cut at `cut`.
        end: With a U-shaped protocol, the cut at which the server's part ends and the client's second part begins.
        protocol: Name of the protocol, one of `cutlayer.protocols.row.PROTOCOLS`.
        row: The protocol itself, with what the plan changes in it.
        clients: Number of clients.
        rounds: Number of rounds.
        epochs: Passes of a client over its samples in each round.
        batch: The greatest number of samples in a step of one client.
        seed: Seed of all draws.
        threads: Threads of each party.
        optimizer: How each party steps.
        optimizer_state: Whether the state of an optimizer is kept over rounds, reset at the begin of each, or averaged
            where the weights are.
        weighting: Whether a client counts in averages by its number of samples, or all count alike.
        bn: What of batch normalization is shared: everything (`shared`), nothing (`local`), all but the running
            statistics (`statistics-local`); or it is `replaced` by group normalization.
        sampling: Share of the clients that take part in a round.
        stragglers: Whether the others `wait` for a client that does not answer, go on without it (`drop`), or with
            another one in its place (`replace`).
        straggler_s: Time in seconds after which a client is a straggler.
        partition: How the training samples are divided among the clients.
        samples: Number of training samples of all clients together; 0 for all.
        test: Number of test samples.
        input: Size of the images, such as 1x32x32, for data by path, and for a server that has no data.
        classes: Number of classes, for a server that has no data; 0 for as many as the data have.
        codec: How tensors travel.
        defense: What is done to the smashed data before they leave the client.
        gradient_defense: What the server, or who holds the labels, does to the gradient at the cut.
        update_defense: What each client does to the update that it sends, to its samples, or to the model.
        dp: DP-SGD for the weights that the clients deliver.
        secure_aggregation: How the clients mask the weights that they deliver, so that the server learns the mean
            alone; None where they do not.
        detectors: What each client watches its gradients with.
        checkpoint_rounds: A checkpoint is made after every so many rounds; 0 for none.
        evaluate_rounds: Accuracy is measured after every so many rounds, and at the end.
        record: Whether each party keeps what it saw.
        auxiliary_every: With local-loss, smashed data of every so-manieth batch are sent.
        micro_batches: A batch is sent in so many pieces, so that computing and sending overlap.
        name: Name for readers.
        claim: What the training is to show, for readers.
    """

    data: str
    model: str
    protocol: str
    row: Protocol = field(repr=False)
    cut: str = ""
    cuts: tuple[str, ...] = ()
    end: str = ""
    clients: Annotated[int, Within(1, 10_000)] = 5
    rounds: Annotated[int, Within(1, 1_000_000)] = 6
    epochs: Count = 1
    batch: Batch = 32
    seed: Seed = 0
    threads: Threads = 1
    optimizer: Optimizer = Optimizer()
    optimizer_state: str = "keep"
    weighting: str = "samples"
    bn: str = "shared"
    sampling: Annotated[Share, Within(0, 1, above=True)] = 1.0
    stragglers: str = "wait"
    straggler_s: Annotated[float, Within(0, 10_000_000, above=True)] = 60.0
    partition: Partition = IID
    samples: Whole = 0
    test: Count = 2000
    input: str = ""
    classes: Whole = 0
    codec: Wire = Wire()
    defense: Named = UNDEFENDED
    gradient_defense: Named = UNDEFENDED
    update_defense: Named = UNDEFENDED
    dp: Privacy = Privacy()
    secure_aggregation: Masking | None = None
    detectors: tuple[Named, ...] = ()
    checkpoint_rounds: Whole = 1
    evaluate_rounds: Count = 1
    record: bool = False
    auxiliary_every: Count = 1
    micro_batches: Annotated[int, Within(1, 1024)] = 1
    name: str = "training"
    claim: str = ""

    @property
    def id(self) -> str:
        """12 hex digits over everything that decides on the result; names and texts do not count."""
        content = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NO_RESULT}
        content |= {"data": DATASETS.identity(self.data), "model": MODELS.identity(self.model)}
        for key in _DEFENSES:
            content[key] = _identified({"name": content[key].name, **content[key].options}, _DEFENSES[key])
        content["codec"] = {
            key: rewritten(value, CODECS.identity) if isinstance(value, str) else value
            for key, value in asdict(self.codec).items()
        }
        content["row"] = {key: getattr(self.row, key) for key in CHOICES}
        usual = {("unit", "record"), ("label_epsilon", 0.0)}
        private = {key: value for key, value in asdict(self.dp).items() if (key, value) not in usual}
        content["dp"] = private if self.dp.clip else {"label_epsilon": self.dp.label_epsilon}
        if not (self.dp.clip or self.dp.label_epsilon):
            del content["dp"]
        if self.update_defense == UNDEFENDED:
            del content["update_defense"]
        if self.secure_aggregation is None:
            del content["secure_aggregation"]
        # A detector that only listens decides on nothing, so that a client may have one of which the server knows not.
        content["detectors"] = [_identified({"name": d.name, **d.options}, DETECTORS) for d in self.probes]
        if not content["detectors"]:
            del content["detectors"]
        text = json.dumps({"kind": "training", **content}, sort_keys=True, default=asdict)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def probes(self) -> tuple[Named, ...]:
        """The detectors that send wrong labels."""
        return tuple(detector for detector in self.detectors if DETECTORS.load(detector.name).probes)

    @property
    def per_round(self) -> int:
        """Number of clients that take part in a round."""
        return max(1, int(self.sampling * self.clients + 0.5))

    def cut_of(self, client: int) -> str:
        """The cut of a client, 1 to `clients`; empty where there is no tail."""
        if self.row.tail == "none":
            return ""
        return self.cuts[client - 1] if self.cuts else self.cut

    def __str__(self) -> str:
        seed = f", seed {self.seed}" if self.seed else ""
        cuts = " and ".join(dict.fromkeys(self.cuts or (self.cut,)))
        where = f" at {cuts}{f' to {self.end}' if self.end else ''}" if self.row.tail != "none" else ""
        own = self.row.differences(protocol_named(self.protocol))
        changed = "".join(f", {key}={value}" for key, value in own.items())
        clients = "1 client" if self.clients == 1 else f"{self.clients} clients, {self.partition.label}"
        what = f"{MODELS.label(self.model)}{where} on {DATASETS.label(self.data)}"
        return f"{self.protocol}{changed}: {what}, {clients}{seed}"


_NO_RESULT = ("name", "claim", "protocol", "classes", "checkpoint_rounds", "record")
"""What the weights at the end do not depend on. A protocol counts by its row."""


def load(path: Path, settings: Mapping[str, str] | None = None) -> TrainingPlan:
    """Read a plan from a file, and change it by settings such as ``{"optimizer.lr": "0.01"}``.

    Raises:
        ConfigError: A key, name, option or type is unknown, or the plan cannot be; one sentence says which.
    """
    table = read(path, "training plan")
    if "protocol" not in table and {"attack", "measure", "training", "deployment"} & table.keys():
        raise ConfigError(f"{path} is a plan of experiments, and not of a training; run it with `cutlayer run {path}`.")
    for key, text in (settings or {}).items():
        _apply(table, key, text)
    try:
        return parse(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse(table: Mapping[str, Any]) -> TrainingPlan:
    """The plan in a table.

    Raises:
        ConfigError: See `load`.
    """
    only(table, set(KEYS), "key")
    for key in ("data", "model", "protocol"):
        if key not in table:
            raise ConfigError(f"The key {key!r} is missing.")
    name, changes = _protocol(table["protocol"])
    values: Options = {key: table[key] for key in KEYS if key in table and key not in _TABLES}
    if isinstance(cuts := values.get("cut"), list):
        values |= {"cut": "", "cuts": tuple(cuts)}
    for f in fields(TrainingPlan):
        if f.name in values:
            check("cut" if f.name == "cuts" else f.name, f.type, values[f.name])
    for key, known in _CHOICES.items():
        if key in values and values[key] not in known:
            raise ConfigError(f"{key} must be {' or '.join(known)}; {values[key]!r:.80} was given.")
    values["optimizer"] = record(Optimizer, table.get("optimizer", {}), "optimizer")
    values["codec"] = record(Wire, table.get("codec", {}), "codec")
    values["dp"] = record(Privacy, table.get("dp", {}), "dp")
    values["secure_aggregation"] = _masking(table.get("secure_aggregation", False))
    law = table.get("partition", {})
    values["partition"] = record(Partition, {"name": law} if isinstance(law, str) else law, "partition")
    for key in _DEFENSES:
        values[key] = _defense(key, table.get(key, {"name": "none"}))
    values["detectors"] = _detectors(table.get("detectors", []))
    plan = TrainingPlan(**values, protocol=name, row=protocol_named(name, changes))
    if name == "centralised":
        # One client holds the data of all; how they would be divided says nothing.
        plan = replace(plan, clients=1, partition=Partition(least=1), sampling=1.0)
    _check(plan)
    return plan


def _protocol(value: Any) -> tuple[str, Options]:
    """The name of the protocol and what the plan changes in its row, from a name or the table ``[protocol]``."""
    if not isinstance(value, dict):
        check("protocol", str, value)
        return value, {}
    if "name" not in value:
        raise ConfigError("[protocol] needs a name.")
    check("protocol.name", str, value["name"])
    return value["name"], {key: entry for key, entry in value.items() if key != "name"}


def _masking(value: Any) -> Masking | None:
    """True, false, or the table ``[secure_aggregation]``."""
    if isinstance(value, bool):
        return Masking() if value else None
    if not isinstance(value, dict):
        raise ConfigError(f"secure_aggregation must be true, false or a table; {value!r:.80} was given.")
    masking: Masking = record(Masking, value, "secure_aggregation")
    return masking


def _defense(key: str, table: Any) -> Named:
    found = list(named(_DEFENSES[key], {"name": table} if isinstance(table, str) else table))
    if len(found) != 1:
        raise ConfigError(f"A training has one {key}; {len(found)} were given. Give each a plan of its own.")
    return found[0]


def _detectors(entries: Any) -> tuple[Named, ...]:
    """The detectors from a name, a table, or a list of both."""
    listed = entries if isinstance(entries, list) else [entries]
    tables = [{"name": entry} if isinstance(entry, str) else entry for entry in listed]
    return tuple(named(DETECTORS, tables)) if tables else ()


def _check(plan: TrainingPlan) -> None:
    """Refuse what cannot be, before anything is loaded."""
    if not (DATASETS.takes(plan.data) and MODELS.takes(plan.model)):
        _ = DATASETS[plan.data], MODELS[plan.model]
    if plan.optimizer.name not in OPTIMIZERS:
        raise ConfigError(
            f"There is no optimizer named {plan.optimizer.name!r:.80}; {near(plan.optimizer.name, OPTIMIZERS)}"
        )
    if plan.optimizer.momentum and plan.optimizer.name != "sgd":
        raise ConfigError(f"optimizer.momentum is an option of sgd, not of {plan.optimizer.name}; leave it out.")
    if plan.partition.name not in LAWS:
        raise ConfigError(f"There is no partition named {plan.partition.name!r:.80}; {near(plan.partition.name, LAWS)}")
    codec_named(plan.codec.smashed), codec_named(plan.codec.gradient)
    if plan.input:
        input_shape(plan.input)
    _check_cuts(plan)
    if plan.optimizer_state == "average" and "averaged" not in (plan.row.head, _tail_is(plan.row)):
        raise ConfigError(
            f"optimizer_state = 'average' needs weights that are averaged, and {plan.protocol} averages none; set "
            "'keep' or 'reset'."
        )
    alone = plan.row.order == "together" or plan.row.feedback == "local-loss" or plan.row.labels == "kept"
    if plan.micro_batches > 1 and alone:
        raise ConfigError(
            f"With {plan.protocol} there is nothing to overlap by sending a batch in pieces; leave micro_batches out, "
            "or take a protocol in which each client sends its labels and waits for its gradient."
        )
    if plan.defense != UNDEFENDED:
        if plan.row.tail == "none":
            raise ConfigError(f"{plan.protocol} sends no smashed data that a defense could protect; leave defense out.")
        defense = defense_from({"name": plan.defense.name, **plan.defense.options})
        if not defense.trains_along:
            raise ConfigError(
                f"{plan.defense.name} hardens a trained model, and has no part in its training with a server; name one "
                "that changes what is sent, such as gaussian-noise, or that adds to the loss of the device: nopeek, "
                "ressfl or adversarial."
            )
        if plan.micro_batches > 1 and any(isinstance(part, LearnsBeside) for part in defense.parts):
            raise ConfigError(f"The decoder of {plan.defense.name} learns from whole batches; set micro_batches = 1.")
    if plan.gradient_defense != UNDEFENDED:
        if plan.row.tail == "none" or plan.row.feedback == "local-loss":
            raise ConfigError(f"{plan.protocol} sends no gradient of the cut; leave gradient_defense out.")
        if plan.micro_batches > 1:
            raise ConfigError("gradient_defense compares the gradients of a whole batch; set micro_batches = 1.")
    check_update_defense(plan.update_defense, plan.row, plan.protocol, plan.optimizer_state, dp=plan.dp.clip > 0)
    if plan.dp.unit not in ("record", "class"):
        raise ConfigError(f"dp.unit must be record or class; {plan.dp.unit!r:.80} was given.")
    if plan.dp.clip and plan.dp.unit == "class" and plan.row.tail != "none":
        raise ConfigError(
            f"The server of {plan.protocol} trains its tail on every sample, so that dp hides no class; set dp.unit = "
            "'record', or take fedavg."
        )
    if plan.dp.clip and (plan.row.feedback == "local-loss" or plan.row.u_shaped):
        raise ConfigError(f"dp clips what comes from the gradient at one cut, and {plan.protocol} has other gradients.")
    if plan.dp.label_epsilon and (plan.row.labels == "kept" or plan.row.feedback == "local-loss"):
        why = "sends no labels" if plan.row.labels == "kept" else "also trains the heads on the labels, at the clients"
        raise ConfigError(f"dp.label_epsilon hides labels that are sent, and {plan.protocol} {why}; leave it out.")
    if plan.dp.clip and plan.micro_batches > 1:
        raise ConfigError("dp adds noise to the gradient of a whole batch; set micro_batches = 1.")
    if plan.secure_aggregation is not None:
        _check_masking(plan)
    if plan.detectors and (plan.row.tail == "none" or plan.row.feedback == "local-loss"):
        raise ConfigError(f"{plan.protocol} sends no gradient that a client could watch; leave detectors out.")
    if plan.detectors and plan.micro_batches > 1:
        raise ConfigError("detectors compare the gradients of a whole batch; set micro_batches = 1.")
    if plan.probes and plan.row.labels == "kept":
        raise ConfigError(f"{plan.probes[0].label} sends wrong labels, and {plan.protocol} sends none; use gap.")
    if plan.record and plan.row.tail == "none" and plan.row.head == "own":
        raise ConfigError(f"{plan.protocol} sends nothing of its samples that could be recorded; leave record out.")


def _check_masking(plan: TrainingPlan) -> None:
    """Refuse what the sum of masked weights cannot do."""
    if plan.row.head != "averaged" or plan.row.sync == "step":
        raise ConfigError(
            f"secure_aggregation is for weights that are averaged at the end of a round, which {plan.protocol} has "
            "none of; leave it out, or take fedavg or splitfed-v1."
        )
    if plan.stragglers != "wait":
        raise ConfigError(
            "secure_aggregation needs every client of a round to deliver: the masks of one that drops out stay in the "
            "sum, as no shares of its keys are kept by others. Set stragglers = 'wait'."
        )
    if len(set(plan.cuts)) > 1:
        raise ConfigError("secure_aggregation sums the same layers of all clients; give one cut for all.")
    if plan.optimizer_state == "average":
        raise ConfigError(
            "secure_aggregation masks the weights, and optimizer_state = 'average' would send in the clear what the "
            "optimizers remember of the gradients; set 'keep' or 'reset'."
        )
    if plan.per_round < 2:
        raise ConfigError(
            "secure_aggregation hides a client among the others of its round, and there are none; take two clients or "
            "more, or a greater sampling."
        )


def _tail_is(row: Protocol) -> str:
    return "averaged" if row.tail == "copies" else row.tail


def _check_cuts(plan: TrainingPlan) -> None:
    if plan.row.tail == "none":
        return
    if not (plan.cut or plan.cuts):
        raise ConfigError(
            f"The protocol {plan.protocol} needs a cut: the name of a layer, from `cutlayer cuts {plan.model}`."
        )
    if plan.cuts and len(plan.cuts) != plan.clients:
        raise ConfigError(
            f"cut lists {len(plan.cuts)} cuts for {plan.clients} clients; give one cut for all, or one for each."
        )
    if len(set(plan.cuts)) > 1 and plan.row.head == "handed":
        raise ConfigError("A head that is handed on has the same cut at every client; give one cut.")
    if len(set(plan.cuts)) > 1 and plan.row.sync == "step":
        raise ConfigError(
            "Gradients of heads are summed only where all heads are alike; give one cut, or sync = round."
        )
    if plan.row.u_shaped and not plan.end:
        raise ConfigError(
            f"The protocol {plan.protocol} keeps the labels at the clients, who compute the loss: name with end = "
            f"'LAYER' the cut at which their second part begins, one behind {plan.cut or plan.cuts[0]}."
        )
    if plan.end and not plan.row.u_shaped:
        raise ConfigError(
            f"end is the second cut of a U-shaped protocol, and {plan.protocol} has one cut; leave it out, or set "
            "protocol = 'u-shaped'."
        )


_TABLES = (
    "protocol", "optimizer", "codec", "partition", "defense", "gradient_defense", "update_defense", "dp",
    "secure_aggregation", "detectors",
)  # fmt: skip
KEYS = tuple(f.name for f in fields(TrainingPlan) if f.name not in ("row", "cuts"))
"""The keys of a plan."""

_SECTIONS = {
    "optimizer": Optimizer,
    "codec": Wire,
    "partition": Partition,
    "dp": Privacy,
    "secure_aggregation": Masking,
}


def _apply(table: Options, key: str, text: str) -> None:
    """Set one value: ``seed``, ``optimizer.lr``, or an option of the defense."""
    known = [*KEYS, *(f"{section}.{f.name}" for section, kind in _SECTIONS.items() for f in fields(kind))]
    known += [f"protocol.{name}" for name in ("name", *CHOICES)]
    set_value(table, key, text, known, "a training plan", open=(*_DEFENSES,))


def toml(plan: TrainingPlan) -> str:
    """The plan as a file that `load` reads back to the same plan."""
    lines, tables = [], list[str]()
    changed = plan.row.differences(protocol_named(plan.protocol))
    for f in fields(plan):
        value = getattr(plan, f.name)
        if f.name in ("row", "cuts"):
            continue
        if f.name == "protocol":
            value = {"name": value, **changed} if changed else value
        elif f.name == "cut":
            value = list(plan.cuts) or value
        elif f.name == "detectors":
            value = [{"name": detector.name, **detector.options} for detector in value] or f.default
        elif isinstance(value, Named):
            value = {"name": value.name, **value.options}
        elif f.name in _SECTIONS and value is not None:
            value = asdict(value)
        if isinstance(value, dict):
            tables += ["", f"[{f.name}]", *(f"{key} = {toml_value(entry)}" for key, entry in value.items())]
        elif f.default is MISSING or value != f.default or f.name in ("clients", "rounds", "seed"):
            lines.append(f"{f.name} = {toml_value(value)}")
    return "\n".join(lines + tables) + "\n"


def _identified(options: Options, registry: Registry) -> Options:
    """The description of a defense, with the hash of the source of what is the user's own."""
    known = {**options, "name": registry.identity(str(options["name"]))}
    return {**known, "then": _identified(options["then"], registry)} if "then" in options else known
