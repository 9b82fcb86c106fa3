"""The command that runs the experiments of a plan on an engine."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer.commands.training import setting
from cutlayer.errors import ConfigError, CutlayerError
from cutlayer.options import At, DataRoot, OutFolder, WeightsRoot, Whole
from cutlayer.terminal import say, tell, tell_lines


def grid(
    plan: Positional[Annotated[Path, At("file"), arg(metavar="PLAN.toml")]],
    /,
    engine: str = "local",
    workers: Whole | None = None,
    address: str | None = None,
    option: Annotated[UseAppendAction[list[str]], arg(metavar="KEY=VALUE")] = [],  # noqa: B006
    set: Annotated[UseAppendAction[list[str]], arg(metavar="KEY=VALUE")] = [],  # noqa: B006
    out: OutFolder = Path("runs"),
    resume: bool = True,
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    dry_run: bool = False,
) -> None:
    """Run every experiment of a plan, several at once: in processes here, on a Ray cluster, or on a Slurm cluster.

    Finished experiments are skipped, so that the same command goes on where it was stopped. Where one fails, its folder
    gets the reason in failed.json, the others go on, and the command ends with exit code 2.

    Args:
        plan: File of a plan; docs/experiments.md describes the format, docs/grid.md the engines.
        engine: A name from `cutlayer list engines`, or one of your own such as mine.py:Mine.
        workers: Experiments at once; as many as there are cores for, if 0 or left out.
        address: Where a Ray cluster listens, HOST:PORT; a Ray of its own on this machine, if left out.
        option: Option of the engine, such as cpus=2; may be given several times.
        set: Change of one value of the plan, such as defense.sigma=0.5; may be given several times.
        out: Folder for the records. All machines of a cluster must see it, and the data, at the same place.
        resume: Keep the finished parts of an interrupted grid; --no-resume starts again.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
        weights_root: Folder of the published weights of metrics such as lpips; CUTLAYER_WEIGHTS, or the folder weights
            in that of the data sets, if left out.
        dry_run: Only print what would be trained, measured and attacked, and how long that takes on this machine.
    """
    from cutlayer.experiment.grid import run_grid
    from cutlayer.experiment.plan import load
    from cutlayer.registry import ENGINES
    from cutlayer.report.runs.terminal import text

    given = {"workers": workers, "address": address}
    options = {key: value for key, value in given.items() if value is not None} | dict(map(_option, option))
    chosen = ENGINES.make(engine, **options)
    experiments = load(plan, dict(setting(one, "training.epochs=1") for one in set))
    if dry_run:
        from cutlayer.experiment.forecast import forecast

        tell_lines(
            forecast(
                experiments,
                out,
                data_root=data_root,
                weights_root=weights_root,
                say=say,
                source=plan,
                places=chosen.places(),
            )
        )
        return
    results, failed = run_grid(
        experiments, out, chosen, resume=resume, data_root=data_root, say=say, weights_root=weights_root, source=plan
    )
    if results:
        tell_lines(text(results))
    for experiment in (one for one in experiments if one.id in failed):
        tell(f"failed: {out / experiment.id}, {experiment}: {failed[experiment.id]}")
    if failed:
        raise CutlayerError(
            f"{len(failed)} of {len(experiments)} experiments failed; each has its traceback in its failed.json. The "
            "same command runs them again."
        )


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ConfigError(f"--option takes KEY=VALUE, such as cpus=2; {text!r:.80} was given.")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value
