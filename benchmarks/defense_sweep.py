"""Every defense at three strengths and two seeds, on real processes and sockets, under attackers that know it.

Runs `experiments/defenses-*.toml` on each data set in two processes with one thread each, then prints the table and the
cost of each defense on the device. A second call continues an interrupted one. Times of requests are measured while the
other process works; the second table, the cost on the device, is measured alone.
"""

import json
import sys
import time
from pathlib import Path

import tyro
from tyro.conf import UseAppendAction

from benchmarks.defense_cost import costs
from cutlayer.commands.training import setting
from cutlayer.data.load import load as load_data
from cutlayer.errors import DataError
from cutlayer.experiment.engines.local import Local
from cutlayer.experiment.grid import run_grid
from cutlayer.experiment.plan import load
from cutlayer.report.runs.page import write
from cutlayer.report.runs.terminal import text
from cutlayer.terminal import say

PLANS = ("noise", "masks", "trained", "crafter")
PROCESSES = 2
HERE = Path(__file__).parent.parent


def main(
    data: tuple[str, ...] = ("photos", "fashion-mnist"),
    out: Path = Path("runs/defenses"),
    set: UseAppendAction[tuple[str, ...]] = (),
) -> None:
    """Run the plans with the settings of `--set`, as `cutlayer run` takes them, then print the tables."""
    start = time.monotonic()
    present = [name for name in data if _present(name)]
    settings = {"data": json.dumps(present)} | dict(setting(text, "training.epochs=1") for text in set)
    experiments = [one for plan in PLANS for one in load(HERE / f"experiments/defenses-{plan}.toml", settings)]
    results, failed = run_grid(experiments, out, Local(workers=PROCESSES), resume=True, data_root=None, say=say)
    if failed:
        sys.exit("A run failed, with the message above; call this again to run the rest.")
    minutes = (time.monotonic() - start) / 60
    print(text(results))
    print(f"{len(results)} runs; {minutes:.1f} minutes for those that were not finished before")
    print(costs(out, results))
    print(f"The report is {write(out)}")


def _present(name: str) -> bool:
    try:
        load_data(name)
    except DataError as error:
        print(f"{name} is left out: {error}")
        return False
    return True


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
