"""The command that studies what updates give away."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer.commands.training import setting
from cutlayer.options import At, DataRoot, OutFolder
from cutlayer.terminal import say, tell, tell_lines


def gradients(
    plan: Positional[Annotated[Path, At("file"), arg(metavar="PLAN.toml")]],
    /,
    set: Annotated[UseAppendAction[list[str]], arg(metavar="KEY=VALUE")] = [],  # noqa: B006
    out: OutFolder = Path("runs"),
    resume: bool = True,
    data_root: DataRoot = None,
) -> None:
    """Rebuild clients' samples from the updates that they send for aggregation, under each defense of a plan.

    An update is a gradient, or the change of the weights by some local steps. What is finished is kept, so that an
    interrupted study goes on. docs/gradients.md explains attacks, defenses and figures.

    Args:
        plan: File of a plan of a study, such as experiments/gradients-mnist.toml.
        set: Change of one value, such as epochs=0 or training.images=2000; may be given several times.
        out: Folder for the records.
        resume: Keep what is finished; --no-resume runs all of the plan again.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
    """
    from cutlayer.experiment import gradient_plan
    from cutlayer.experiment.gradients import study
    from cutlayer.report.gradients.terminal import text

    loaded = gradient_plan.load(plan, dict(map(setting, set)))
    made = study(loaded, out=out, data_root=data_root, say=say, tell=tell, resume=resume)
    tell_lines(text(made))
    tell(f"Records: {out / loaded.victim.id}. See them with `cutlayer report {out}`.")
