"""The command that studies what updates give away."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer.commands.training import setting
from cutlayer.errors import ConfigError
from cutlayer.options import At, DataRoot, OutFolder
from cutlayer.terminal import say, tell, tell_lines


def gradients(
    plan: Positional[Annotated[Path | None, At("file"), arg(metavar="PLAN.toml")]] = None,
    /,
    transcript: Annotated[Path | None, At("folder"), arg(metavar="RUN")] = None,
    attacks: str = "",
    rounds: str = "",
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
        transcript: Folder of a run of `cutlayer train --record` with the protocol fedavg: attack the updates that its
            server has recorded, by the attacks of the plan or of --attacks.
        attacks: With --transcript: names from `cutlayer list update-attacks`, such as ratio,inverting-gradients.
        rounds: With --transcript: the rounds, such as 1,10; the first and the last if left out.
        set: Change of one value, such as epochs=0 or training.images=2000; may be given several times.
        out: Folder for the records.
        resume: Keep what is finished; --no-resume runs all of the plan again.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
    """
    from cutlayer.experiment import gradient_plan
    from cutlayer.experiment.gradients import study
    from cutlayer.report.gradients.terminal import text

    settings = dict(map(setting, set))
    if transcript is not None:
        from cutlayer.experiment.recorded_updates import attack_transcript

        planned = gradient_plan.load(plan, settings).attackers if plan is not None else ()
        named = gradient_plan.attackers_named(attacks.split(",")) if attacks else planned
        if not named:
            raise ConfigError("Name the attacks with --attacks, or a plan whose attacks are taken.")
        made = attack_transcript(transcript, named, data_root=data_root, rounds=_numbers(rounds), say=say)
        folder, above = transcript, transcript.resolve().parent
    elif plan is None:
        raise ConfigError("Name the file of a plan, or a run with --transcript.")
    else:
        loaded = gradient_plan.load(plan, settings)
        made = study(loaded, out=out, data_root=data_root, say=say, tell=tell, resume=resume)
        folder, above = out / loaded.victim.id, out
    tell_lines(text(made))
    tell(f"Records: {folder}. See them with `cutlayer report {above}`.")


def _numbers(text: str) -> list[int]:
    parts = text.split(",") if text else []
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ConfigError(f"--rounds takes numbers from 1, such as 1,10; {text!r:.80} was given.")
    return [int(part) for part in parts]
