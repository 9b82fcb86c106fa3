"""The command that attacks a recorded tap."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from cutlayer.errors import ConfigError
from cutlayer.options import At, Count, DataRoot, Gigabytes, OutFolder, Seed, WeightsRoot, Whole, Within
from cutlayer.terminal import say, tell, tell_lines


def attack(
    split: Positional[Annotated[Path, At("folder"), arg(metavar="SPLIT")]],
    tap: Positional[Annotated[Path, At("folder"), arg(metavar="TAP")]],
    /,
    data: str | None = None,
    attacks: str | None = None,
    plan: Annotated[Path | None, At("file"), arg(metavar="FILE.toml")] = None,
    truth: Annotated[Path | None, At("file"), arg(metavar="FILE.npz")] = None,
    access: Literal["query-free", "black-box", "white-box"] | None = None,
    vantage: Literal["cloud", "link", "encrypted-link", "client", "servers"] | None = None,
    codec: str | None = None,
    releases: Count = 1,
    count: Count | None = None,
    auxiliary: Whole | None = None,
    seed: Seed | None = None,
    out: OutFolder = Path("attacked"),
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    max_memory: Gigabytes | None = None,
    watch: bool = False,
    port: Annotated[int, Within(0, 65_535)] = 0,
) -> None:
    """Attack what a server has recorded, on any machine: nothing is sent, and no device or server is needed.

    Writes attacks.json, reconstructions.npz and page.html; with --truth also scores.npz.

    Args:
        split: The split folder that was served. One that the tap was not recorded for is refused.
        tap: Folder that `cutlayer cloud --tap` wrote.
        data: A name from `cutlayer list datasets`, or the path of data of the kind: the attackers hold its auxiliary
            part. That of the plan, or the one that the split was trained on, if left out.
        attacks: Names from `cutlayer list attacks`, such as ridge,decoder; those of the plan if left out, or
            without a plan a floor and quick ones, such as mean-image,nearest,ridge,decoder of images.
        plan: File of an experiment, such as runs/ID/experiment.toml, whose attacks with their options, data, seed,
            access, vantage, codec and number of auxiliary inputs are taken where an option is left out.
        truth: What the requests carried, for the scores: the file of `cutlayer edge --record` or the record.npz of a
            run; or an .npz file with the inputs as x, in the order of the requests. Without it nothing is scored.
        access: What the attackers are granted of the head; white-box if neither an option nor a plan says less.
        vantage: Where they sit: cloud, if neither an option nor a plan says otherwise.
        codec: The codec of the requests; what they say themselves if left out.
        releases: For a tap without a record: how many times the device sent the same inputs in the same order.
        count: Attack the first so many inputs; all if left out.
        auxiliary: The first so many of the attackers' own inputs; 0 for all.
        seed: Seed of the data's parts, the attackers and the intervals.
        out: Folder for the results.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
        weights_root: Folder of published weights, for metrics of the plan that need them.
        max_memory: Memory in GB that this process may claim. Linux only.
        watch: Attack the newest requests while a server records them, and show that on a page of this machine until
            Ctrl-C; nothing is written but what the attackers learn, to --out. It takes --data, --attacks, --seed,
            --out, --data-root and --port; without --attacks, ridge, or token-ridge
            for sentences.
        port: With --watch, the port of the page; 0 takes a free one.
    """
    from cutlayer.attacks.view import Access, vantage_named
    from cutlayer.data.modality import kind_of_inputs
    from cutlayer.experiment.offline import attack_tap
    from cutlayer.experiment.plan import attacks_named, load
    from cutlayer.experiment.spec import Measure
    from cutlayer.machine.memory import limit_memory
    from cutlayer.privacy.score import Chosen
    from cutlayer.registry import QUICK_ATTACKS
    from cutlayer.report.runs.tap import text
    from cutlayer.split_folder import open_split

    limit_memory(max_memory)
    if watch:
        given = {
            "plan": plan, "truth": truth, "access": access, "vantage": vantage, "codec": codec, "count": count,
            "auxiliary": auxiliary, "weights-root": weights_root, "releases": releases if releases > 1 else None,
        }  # fmt: skip
        if unfit := [f"--{name}" for name, value in given.items() if value is not None]:
            raise ConfigError(f"--watch shows the newest requests, and does not go with {' and '.join(unfit)}.")
        _watch(split, tap, data, attacks, port, out, data_root, seed or 0)
        return
    planned, opened = None if plan is None else load(plan)[0], open_split(split)
    setup = Measure() if planned is None else planned.measure
    if attacks is None and planned is not None:
        asked = planned.attacks
    else:
        asked = attacks_named(attacks.split(",") if attacks else QUICK_ATTACKS[kind_of_inputs(opened.manifest.input)])
    name = data or (planned.data if planned else opened.manifest.data)
    if name is None:
        raise ConfigError("The split folder names no data set; name the attackers' own with --data.")
    record = attack_tap(
        tap, opened, asked, out, data=name, access=Access.named(access or setup.access),
        vantage=vantage_named(vantage or setup.vantage), say=say, truth=truth,
        metrics=Chosen(setup.metrics, weights_root), codec=codec or (setup.codec if planned else ""),
        releases=releases, count=count,
        auxiliary=setup.auxiliary if auxiliary is None else auxiliary,
        seed=(planned.seed if planned else 0) if seed is None else seed, data_root=data_root,
    )  # fmt: skip
    tell_lines(text(record))
    tell(f"The page is {(out / 'page.html').resolve()}")


def _watch(
    split: Path, tap: Path, data: str | None, attacks: str | None, port: int, out: Path, data_root: Path | None,
    seed: int,
) -> None:  # fmt: skip
    from cutlayer.live.prepare import check_attackers
    from cutlayer.live.watching import watch_tap
    from cutlayer.registry import ATTACKS
    from cutlayer.split_folder import open_split
    from cutlayer.stopping import StopSignal

    folder = open_split(split)
    quick = "token-ridge" if folder.manifest.sequence else "ridge"
    names = tuple(dict.fromkeys(name for name in (attacks or quick).split(",") if name))
    for name in names:
        ATTACKS.load(name)
    check_attackers(folder.manifest, names)
    named = data or folder.manifest.data
    if named is None:
        raise ConfigError("The split folder names no data set; name the attackers' own with --data.")
    stop = StopSignal()
    with watch_tap(tap, folder, named, out=out, attackers=names, port=port, data_root=data_root, seed=seed) as page:
        tell(f"page {page}")
        stop.wait()
