"""Who sees what while a plan is trained, in sentences; it follows from the row alone."""

from cutlayer.protocols.plan import TrainingPlan
from cutlayer.protocols.row import protocol_named
from cutlayer.tables import Named


def sees(plan: TrainingPlan) -> tuple[str, ...]:
    """What the server sees, and what a client sees of the others."""
    return _server(plan), _client(plan)


def _server(plan: TrainingPlan) -> str:
    row = plan.row
    if row.tail == "none":
        if row.head == "own":
            return "The server sees nothing but how many samples are classified rightly."
        if plan.secure_aggregation is not None:
            return "The server sees the mean of the clients' weights after each round, those of none, and no sample."
        hidden = _behind(plan.update_defense)
        return f"The server sees the weights of every client after each round{hidden}, and no sample."
    seen = [f"the smashed data of every sample in every step{_behind(plan.defense)}"]
    drawn = "its label as drawn by randomized response" if plan.dp.label_epsilon else "its label"
    seen += [drawn] if row.labels == "sent" else []
    if row.head == "averaged" and row.sync == "step":
        seen.append(f"the gradients of every client's head{_behind(plan.update_defense)}")
    elif plan.secure_aggregation is not None:
        seen.append("the mean of the clients' heads")
    elif row.head != "own":
        seen.append(f"the weights of every client's head{_behind(plan.update_defense)}")
    said = f"The server sees {_listed(seen)}."
    if row.u_shaped:
        said += " No label is sent; the gradient behind the server's layers is, from which labels may be inferred."
    return said


def _behind(defense: Named) -> str:
    return "" if defense.name == "none" else f" behind the defense {defense.label}"


def _client(plan: TrainingPlan) -> str:
    row = plan.row
    seen = list[str]()
    if row.tail != "none" and row.feedback == "gradient":
        what = "the gradients at its output" if not row.u_shaped else "what the server's layers make of its own samples"
        seen.append(what)
    if row.head == "handed":
        seen.append("the head as the client before it has left it")
    elif row.head == "averaged":
        seen.append("the mean of the heads" if row.tail != "none" else "the mean of the models")
    if not seen:
        return "A client sees nothing of others."
    return f"A client sees {_listed(seen)}, and no sample of another one."


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def label(plan: TrainingPlan) -> str:
    """The protocol, and the options of a plan that differ from their defaults, for tables."""
    changes = [f"{key}={value}" for key, value in plan.row.differences(protocol_named(plan.protocol)).items()]
    changes += [f"{key}={getattr(plan, key)}" for key, usual in _USUAL.items() if getattr(plan, key) != usual]
    codecs = {"up": plan.codec.smashed, "down": plan.codec.gradient}
    changes += [f"{way} {codec}" for way, codec in codecs.items() if codec != "raw"]
    unit = "" if plan.dp.unit == "record" else f" unit={plan.dp.unit}"
    changes += [f"dp clip={plan.dp.clip:g} noise={plan.dp.noise:g}{unit}"] if plan.dp.clip else []
    changes += [f"dp label_epsilon={plan.dp.label_epsilon:g}"] if plan.dp.label_epsilon else []
    changes += ["secure_aggregation"] if plan.secure_aggregation is not None else []
    changes += [
        defense.label
        for defense in (plan.defense, plan.gradient_defense, plan.update_defense)
        if defense.name != "none"
    ]
    changes += [detector.label for detector in plan.probes]
    return ", ".join([plan.protocol, *changes])


_USUAL = {
    key: TrainingPlan.__dataclass_fields__[key].default
    for key in (
        "bn", "optimizer_state", "weighting", "sampling", "epochs", "stragglers", "micro_batches", "auxiliary_every",
    )
}  # fmt: skip
"""The options that a label names, and their defaults."""
