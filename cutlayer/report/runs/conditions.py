"""The machine of a group's runs and its load, and the flags where the runs were made under different conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cutlayer.machine.identity import decisive
from cutlayer.records.run import Flag, Result
from cutlayer.report.kit.wording import SPACE
from cutlayer.report.runs.groups import Group

BUSY = 0.1
"""Share of the machine's cores from which the other processes of a measurement are a red flag."""


def machine(group: Group) -> str:
    """Processor, instruction sets, threads, and what else the machine did, in sentences."""
    named = {" and ".join(_described(member.run.env)) for member in group.members if member.run.env}
    text = f"Measured on {'; '.join(sorted(named))}." if named else "The machine is unknown."
    shares = [cost.others for member in group.members for cost in member.run.result.cost if cost.others is not None]
    if not shares:
        return f"{text} What else the machine did meanwhile was not recorded."
    least, most = _percent(min(shares)), _percent(max(shares))
    between = most if least == most else f"{least} to {most}"
    return f"{text} While requests were timed, other processes took {between} of its cores."


def flags(group: Group) -> list[Flag]:
    """Where the machine was busy, runs depend on different machines or versions, or an old one has no watch list."""
    raised = []
    if old := [member.label for member in group.members if _is_old(member.run.result)]:
        text = f"The records of {', '.join(old)} are of an older version, which played no watch list: the share of "
        raised.append(Flag("no-watch-list", f"{text}identified inputs is that of reconstructions, and too low."))
    timed = [(cost, member) for member in group.members for cost in member.run.result.cost if cost.others is not None]
    busy = [(cost.others or 0.0, f"{member.label} on {cost.deployment}") for cost, member in timed]
    if disturbed := [entry for entry in busy if entry[0] >= BUSY]:
        most, where = max(disturbed)
        many = (
            f"While {len(disturbed)} of {len(timed)} measurements were taken"
            if disturbed[1:]
            else f"While {where} was timed"
        )
        text = f"{many}, other processes took up to {_percent(most)} of the cores"
        text += f" ({where})" if disturbed[1:] else ""
        raised.append(Flag("busy-machine", f"{text}: a difference of two times may be theirs."))
    known = {member.run.result.id: decisive(member.run.env) for member in group.members if member.run.env}
    for item in dict.fromkeys(name for values in known.values() for name in values):
        runs_of: dict[str, list[str]] = {}
        for run, values in known.items():
            if item in values:
                runs_of.setdefault(values[item], []).append(run)
        if len(runs_of) > 1:
            each = "; ".join(f"{value} ({', '.join(runs)})" for value, runs in runs_of.items())
            text = f"The runs differ in {item}: {each}. Their figures differ for that reason too."
            raised.append(Flag("other-conditions", text))
    return raised


def _is_old(result: Result) -> bool:
    """Whether a result with attacks has no record of identification; others say themselves what they lack."""
    return bool(result.privacy) and not result.identification


def _described(env: Mapping[str, Any]) -> list[str]:
    """The machine of a run, in parts of a sentence."""
    cores, sets = env.get("cores"), env.get("instruction_sets") or []
    text = f"{cores} cores of {env.get('cpu', 'an unknown processor')}" if cores else str(env.get("cpu", "unknown"))
    strongest = ", ".join(sets[-3:]) if isinstance(sets, list) else ""
    return [f"{text} ({strongest})" if strongest else text]


def _percent(share: float) -> str:
    return f"{share * 100:.0f}{SPACE}%"
