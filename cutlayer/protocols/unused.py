"""Which options of a plan change nothing in it. They are no error: a sweep over protocols states those of each."""

from __future__ import annotations

from dataclasses import fields

from cutlayer.data.partition import Partition
from cutlayer.protocols.plan import Privacy, TrainingPlan, Wire

_LAWS = {"alpha": "dirichlet", "classes": "classes", "shards": "shards", "beta": "quantity"}


def unused(plan: TrainingPlan) -> str:
    """The options that differ from their defaults and have no effect, in one line; empty if there are none."""
    row = plan.row
    tail, gradient = row.tail != "none", row.tail != "none" and row.feedback == "gradient"
    lossy = (tail and plan.codec.smashed != "raw") or (gradient and plan.codec.gradient != "raw")
    averaged = row.head == "averaged" or row.tail == "copies"
    needed = [
        ("cut", tail, "a protocol with a tail"),
        ("cuts", tail, "a protocol with a tail"),
        ("auxiliary_every", row.feedback == "local-loss", "a protocol with local-loss"),
        ("weighting", averaged, "a protocol that averages"),
        ("straggler_s", plan.stragglers != "wait", "stragglers = 'drop' or 'replace'"),
        ("codec.smashed", tail, "a protocol with a tail"),
        ("codec.gradient", gradient, "a protocol that sends gradients"),
        ("codec.error_feedback", lossy, "a codec other than raw for what is sent"),
        ("dp.noise", plan.dp.clip > 0, "dp.clip above 0"),
        ("dp.delta", plan.dp.clip > 0 or plan.update_defense.name == "client-dp", "dp.clip above 0, or client-dp"),
        ("dp.unit", plan.dp.clip > 0, "dp.clip above 0"),
    ]
    needed += [(f"partition.{key}", plan.partition.name == law, f"the law {law}") for key, law in _LAWS.items()]
    found = [
        f"{key} = {_value(plan, key)} (needs {what})"
        for key, used, what in needed
        if not used and _value(plan, key) != _USUAL[key]
    ]
    return f"Without effect in this plan: {', '.join(found)}." if found else ""


def _value(plan: TrainingPlan, key: str) -> object:
    """The value of ``cut`` or ``codec.smashed``."""
    value: object = plan
    for name in key.split("."):
        value = getattr(value, name)
    return value


_SECTIONS = {"": TrainingPlan, "codec.": Wire, "dp.": Privacy, "partition.": Partition}
_USUAL = {f"{section}{f.name}": f.default for section, kind in _SECTIONS.items() for f in fields(kind)}
"""The defaults by key."""
