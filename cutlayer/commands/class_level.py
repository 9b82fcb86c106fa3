"""The command that studies what a model's answers and weights give away of the people it was trained on."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer.commands.training import setting
from cutlayer.options import At, DataRoot, OutFolder
from cutlayer.terminal import say, tell, tell_lines


def class_level(
    plan: Positional[Annotated[Path, At("file"), arg(metavar="PLAN.toml")]],
    /,
    set: Annotated[UseAppendAction[list[str]], arg(metavar="KEY=VALUE")] = [],  # noqa: B006
    out: OutFolder = Path("runs"),
    resume: bool = True,
    data_root: DataRoot = None,
) -> None:
    """Show what each class of a model looks like, from the model's answers or weights, under each defense of a plan.

    A class may be a person. What is finished is kept, so that an interrupted study goes on. docs/class-level.md
    explains attacks, judges, floors and defenses.

    Args:
        plan: File of a plan of a study, such as experiments/class-level-mnist.toml.
        set: Change of one value, such as epochs=1 or images=5; may be given several times.
        out: Folder for the records.
        resume: Keep what is finished; --no-resume runs all of the plan again.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
    """
    from cutlayer.experiment import class_plan
    from cutlayer.experiment.class_level import study
    from cutlayer.report.class_level.terminal import text

    loaded = class_plan.load(plan, dict(map(setting, set)))
    made = study(loaded, out=out, data_root=data_root, say=say, tell=tell, resume=resume)
    tell_lines(text(made))
    tell(f"Records: {out / loaded.victim.id}. See them with `cutlayer report {out}`.")
