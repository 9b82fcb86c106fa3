"""The command behind the figures of a group, which stands beside each of them."""

from __future__ import annotations

from cutlayer.machine.command import command_line
from cutlayer.report.kit.markup import Html, el
from cutlayer.report.runs.groups import Group

REPEAT = "cutlayer run runs/ID/experiment.toml"
"""What repeats one run, whatever made it."""
MOST = 3
"""Commands that stand beside a figure at most."""


def commands(group: Group) -> list[str]:
    """The commands that made the runs of a group, each once; records of older versions name none."""
    return list(dict.fromkeys(filter(None, (command_line(member.run.env) for member in group.members))))


def nameless(group: Group) -> int:
    """Number of runs whose records name no command."""
    return sum(not command_line(member.run.env) for member in group.members)


def made(group: Group) -> Html:
    """One line: the commands, and for how many runs none is known."""
    known, unknown = commands(group), nameless(group)
    parts: list[object] = ["Made by "] if known else []
    for number, command in enumerate(known[:MOST]):
        parts += [" and " if number else "", el("code", command)]
    if len(known) > MOST:
        parts.append(f" and {len(known) - MOST} more commands, which env.json of each run names")
    if unknown:
        whose = "the records" if not known else f"{unknown} of {len(group.members)} records"
        parts += [". " if known else "", f"Which command made {whose} is not in them; ", el("code", REPEAT),
                  " repeats a run"]  # fmt: skip
    return el("p", parts, ".", class_="made")


def in_words(group: Group) -> str:
    """The same for files of text: the commands, or how a run is repeated."""
    known = commands(group)
    more = [f"and {len(known) - MOST} more"] if len(known) > MOST else []
    return "; ".join([*known[:MOST], *more]) or REPEAT
