"""How studies were made: their machines and how to repeat them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cutlayer.records.reading import Study
from cutlayer.report.kit.markup import Html, el, row, section, table
from cutlayer.report.kit.wording import DASH


def environment(studies: Sequence[Study[Any]], what: str, command: str) -> Html | None:
    """The studies on the page, and the machines on which they were run.

    Args:
        studies: The studies; without any, nothing is shown.
        what: What they study: "updates".
        command: How one is repeated.
    """
    if not studies:
        return None
    head = ["Study", "Cells", "Started", "Machine", "torch"]
    rows = []
    for study in studies:
        env = study.env
        started = str(env.get("started") or DASH).replace("T", " ").removesuffix("Z")
        machine = f"{env.get('cores', '?')} cores of {env['cpu']}" if env.get("cpu") else DASH
        cells = [f"{len(study.records):,}", started, machine, (env.get("packages") or {}).get("torch") or DASH]
        rows.append(row(study.folder.name, cells))
    return section(
        "How it was studied",
        table(f"The studies of {what} on this page", head, [el("tbody", rows)]),
        el("p", "Repeat one with ", el("code", command), "."),
    )
