"""Commands that run experiments and report on them."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer.commands.training import setting
from cutlayer.errors import ConfigError
from cutlayer.options import At, DataRoot, Gigabytes, OutFolder, WeightsRoot
from cutlayer.terminal import say, tell, tell_lines


def run(
    experiments: Positional[Annotated[Path | None, At("file"), arg(metavar="FILE.toml")]] = None,
    /,
    example: str | None = None,
    set: Annotated[UseAppendAction[list[str]], arg(metavar="KEY=VALUE")] = [],  # noqa: B006
    out: OutFolder = Path("runs"),
    resume: bool = True,
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    dry_run: bool = False,
    budget: str = "",
    max_memory: Gigabytes | None = None,
) -> None:
    """Run every experiment of a plan: train, split, serve, measure, attack. Finished experiments are skipped.

    Args:
        experiments: File of a plan; docs/experiments.md describes the format.
        example: Name from `cutlayer list examples`, in place of a file.
        set: Change of one value, such as defense.sigma=0.5 or training.epochs=1; may be given several times.
        out: Folder for the records.
        resume: Keep the finished parts of an interrupted run; --no-resume starts again.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
        weights_root: Folder of the published weights of metrics such as lpips; CUTLAYER_WEIGHTS, or the folder weights
            in that of the data sets, if left out.
        dry_run: Only print what would be trained, measured and attacked, and how long that takes on this machine.
        budget: Time for the plan, such as 90s: attacks make fewer steps where this machine is too slow for all of them.
        max_memory: Memory in GB that this process may claim: what needs more ends with a message in place of a slow
            machine. The device and the server, which it starts, are not limited. No limit if left out. Linux only.
    """
    from cutlayer.experiment import examples, plan
    from cutlayer.experiment.run import run_all
    from cutlayer.machine.memory import limit_memory
    from cutlayer.profile.plan import duration_ns
    from cutlayer.report.runs.terminal import text

    limit_memory(max_memory)
    if experiments is None and example is not None:
        experiments = examples.path(example)
    elif experiments is None or example is not None:
        raise ConfigError(
            "Name either the file of a plan or an example: --example NAME, from `cutlayer list examples`."
        )
    planned = plan.load(experiments, dict(setting(text, "training.epochs=1") for text in set))
    if dry_run:
        from cutlayer.experiment.forecast import forecast

        tell_lines(forecast(planned, out, data_root=data_root, weights_root=weights_root, say=say, source=experiments))
        return
    budget_s = duration_ns(budget) / 1e9 if budget else None
    results = run_all(
        planned,
        out,
        resume=resume,
        data_root=data_root,
        say=say,
        budget_s=budget_s,
        weights_root=weights_root,
        source=experiments,
    )
    tell_lines(text(results))


def demo(out: OutFolder = Path("runs"), budget: str = "80s") -> None:
    """Run the demonstration: train, cut, serve and attack a small network, print the table, and write the report.

    Args:
        out: Folder for the records and the report.
        budget: Time for all but the report: attacks make fewer steps where this machine is too slow for all of them.
    """
    run(example="demo", out=out, budget=budget)
    report(out)


def report(
    runs: Positional[Annotated[Path, At("folder"), arg(metavar="RUNS")]] = Path("runs"),
    /,
    open: bool = False,
    format: Literal["html", "latex", "markdown"] = "html",
) -> None:
    """Write one self-contained page from the records of finished runs, or tables for a paper.

    Args:
        runs: Folder of the records, in which the page is written too.
        open: Open the page in this machine's browser.
        format: html for the page, report.html; latex or markdown for its frontier and its matrix as tables, report.tex
            or report.md.
    """
    from cutlayer.report.runs import page, paper

    if open and format != "html":
        raise ConfigError(f"--open shows the page, and --format {format} writes none; leave one of the two out.")
    path = (page.write(runs) if format == "html" else paper.write(runs, format)).resolve()
    tell(f"The report is {path}")
    if open:
        import webbrowser

        if not webbrowser.open(path.as_uri()):
            tell("No browser could be opened on this machine; open the file in one yourself.")
