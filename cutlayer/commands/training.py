"""The command that trains by clients and a server."""

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer.errors import ConfigError
from cutlayer.options import At, Count, DataRoot, OutFolder, Whole
from cutlayer.records.training import RoundRecord, TrainingRecord
from cutlayer.terminal import say, tell, tell_lines
from cutlayer.wire.security import Security
from cutlayer.wire.transport import Timeouts


def train(
    plan: Positional[Annotated[Path, At("file"), arg(metavar="PLAN.toml")]],
    /,
    set: Annotated[UseAppendAction[list[str]], arg(metavar="KEY=VALUE")] = [],  # noqa: B006
    out: OutFolder = Path("runs"),
    resume: bool = False,
    in_process: bool = False,
    transport: Literal["zmq", "grpc"] = "zmq",
    record: bool = False,
    compare: bool = True,
    log: UseAppendAction[list[str]] = [],  # noqa: B006
    data_root: DataRoot = None,
) -> None:
    """Train a model by clients and a server, all on this machine: split learning, federated learning, and baselines.

    Each client and the server is a process of its own. `cutlayer cloud --train` and `cutlayer edge --train` start them
    one by one, on several machines. docs/training.md describes plans and protocols.

    Args:
        plan: File of a training plan, such as experiments/train-splitfed.toml.
        set: Change of one value, such as protocol=vanilla or optimizer.lr=0.01; may be given several times.
        out: Folder for the records.
        resume: Go on with a run of this plan that was interrupted.
        in_process: Run all parties as threads of one process, with the same result and without sockets.
        transport: How the processes reach each other.
        record: Keep what each party sees while training, for attacks, also where the plan does not say so.
        compare: At the end train each client alone as well, and attack the smashed data of the first and the last
            round, to show what training together is worth and what it gives away; --no-compare saves the time.
        log: Where else the rounds are written: tensorboard or mlflow; may be given several times.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
    """
    from cutlayer.experiment.training import train as run
    from cutlayer.protocols import plan as plans

    settings = dict(map(setting, set))
    trained = run(
        plans.load(plan, settings), out=out, data_root=data_root, resume=resume,
        transport=None if in_process else transport, record=record, compare=compare, log=log, tell=tell_lines, say=say,
    )  # fmt: skip
    tell(f"Records: {out / trained.id}. See them with `cutlayer report {out}`.")


def leaks(
    run: Positional[Annotated[Path, At("folder"), arg(metavar="RUN")]],
    /,
    party: UseAppendAction[list[str]] = [],  # noqa: B006
    labels: str = "norm,direction,similarity,enumeration,exact,model-completion,surrogate",
    inputs: str = "naive,sdar,fsha",
    known: Whole = 1,
    count: Count = 2000,
    steps: Count = 600,
    data_root: DataRoot = None,
) -> None:
    """Attack what each party of a training has recorded: labels from gradients, samples from smashed data.

    RUN is the folder of a training with `record = true`. An attack that needs what the party did not see is not run,
    with the reason. The figures join the record, and `cutlayer report` shows them. docs/training-leaks.md has the
    attacks.

    Args:
        run: Folder of the run, such as runs/ID.
        party: server, or client-1 and so on; may be given several times. The server and the first client if left out.
        labels: Names from `cutlayer list label-attacks`, parted by commas; empty for none.
        inputs: naive, sdar, pcat, fora, fsha or unsplit, parted by commas; empty for none.
        known: Samples of each class whose labels the attacker knows.
        count: Samples of a round whose labels are inferred, at most.
        steps: Steps that an attack on samples takes, each a few hundredths of a second: through the recording again and
            again, or on its last ones.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
    """
    from cutlayer.attacks.training.training_inversion import FEW_STEPS, system
    from cutlayer.attacks.training.unsplit import UnSplit
    from cutlayer.experiment.leaks import attack
    from cutlayer.registry import LABEL_ATTACKS
    from cutlayer.report.trainings.terminal import leaks as text

    record = attack(
        run, party, {name: LABEL_ATTACKS.make(name) for name in filter(None, labels.split(","))},
        {
            name: UnSplit() if name == "unsplit" else system(name, **FEW_STEPS)
            for name in filter(None, inputs.split(","))
        }, known=known, count=count, steps=steps,
        data_root=data_root, say=say,
    )  # fmt: skip
    tell_lines(text(record))


def host(
    plan: Path,
    listen: str,
    out: Path,
    data_root: Path | None,
    timeouts: Timeouts,
    security: Security,
    log: list[str],
    *,
    resume: bool,
    record: bool,
    compare: bool,
) -> None:
    """Run the server of a training: ``cutlayer cloud --train``. It prints ``ready ADDRESS``, then a line a round."""
    from cutlayer.cloud.training import trackers
    from cutlayer.cloud.training.serve import serve
    from cutlayer.experiment.training import compared
    from cutlayer.protocols import plan as plans
    from cutlayer.report.trainings.terminal import heading, line, summary

    for name in log:
        trackers.check(name)
    tracking, titles = list[trackers.Track](), list[str]()

    def ready(address: str, begun: TrainingRecord) -> None:
        tracking.extend(trackers.opened(name, begun, out / begun.id) for name in log)
        tell(f"ready {address} {begun.plan}")
        titles.append(heading(begun))

    def told(entry: RoundRecord) -> None:
        while titles:
            tell_lines(titles.pop())
        tell(line(entry))
        for track in tracking:
            track(entry)

    loaded = plans.load(plan)
    made, setup = serve(
        replace(loaded, record=True) if record else loaded, listen, out=out, data_root=data_root, resume=resume,
        ready=ready, told=told, say=say, timeouts=timeouts, security=security,
    )  # fmt: skip
    if compare and setup is not None:
        made = compared(made, setup, out, data_root, say)
    tell_lines(summary(made))


def join(
    client: str,
    connect: str,
    plan: Path | None,
    out: Path,
    data_root: Path | None,
    timeouts: Timeouts,
    security: Security,
    patience_s: float,
) -> None:
    """Run one client of a training: ``cutlayer edge --train``."""
    from cutlayer.edge.training.work import take_part
    from cutlayer.protocols import plan as plans

    logging.getLogger("cutlayer.edge.training").setLevel(logging.INFO)
    match = re.fullmatch(r"([1-9]\d{0,5})(?:/([1-9]\d{0,5}))?", client)
    if match is None:
        raise ConfigError(f"--client says which client this is, of how many, such as 3/10; {client!r:.80} was given.")
    own = plans.load(plan) if plan is not None else None
    take_part(
        connect, int(match[1]), int(match[2]) if match[2] else None, plan=own, out=out, data_root=data_root, say=say,
        patience_s=patience_s, timeouts=timeouts, security=security,
    )  # fmt: skip


def setting(text: str, example: str = "protocol=vanilla") -> tuple[str, str]:
    """The key and the value of ``KEY=VALUE``, of which a message gives an example."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ConfigError(f"--set takes KEY=VALUE, such as {example}; {text!r} was given.")
    return key, value
