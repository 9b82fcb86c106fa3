"""Commands for the records of runs, trainings and studies."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from cutlayer.errors import ConfigError
from cutlayer.options import At
from cutlayer.terminal import say, tell

Runs = Positional[Annotated[Path, At("folder"), arg(metavar="RUNS")]]


def index(runs: Runs = Path("runs"), /) -> None:
    """Make the index of a folder of runs again from its folders: RUNS/index.sqlite, which the other commands read.

    They bring it up to date by themselves; this is for a folder that was copied, or to ask with SQL.
    """
    from cutlayer.bounded import reason
    from cutlayer.records.found import make_index

    if not runs.is_dir():
        raise ConfigError(f"There is no folder {runs}; name the folder of the records, such as runs.")
    counts, damaged = make_index(runs)
    for path, error in damaged:
        say(f"{path} is damaged ({reason(error)}), and is left out")
    finished, trainings, updates, classes = (counts[kind] for kind in ("run", "training", "update", "class-level"))
    tell(f"The index holds {finished:,} runs, {trainings:,} trainings, and of studies {updates + classes:,} cells.")
