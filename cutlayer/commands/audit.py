"""The command that audits a split folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from cutlayer.errors import ConfigError
from cutlayer.options import At, Count, DataRoot, Seed, Whole
from cutlayer.terminal import say, tell_lines

if TYPE_CHECKING:
    from cutlayer.experiment.audit import Audit


def audit(
    split: Positional[Annotated[Path, At("folder"), arg(metavar="FOLDER")]],
    /,
    data: str | None = None,
    codec: str = "raw",
    count: Count = 200,
    auxiliary: Whole = 2000,
    releases: Count = 4,
    seed: Seed = 0,
    data_root: DataRoot = None,
) -> None:
    """Say in seconds what a split folder gives away: cheap attacks, a watch list, and what no attacker exceeds.

    Nothing is trained or written. A stronger attack may find what these do not; `cutlayer run` has them.

    Args:
        split: The split folder.
        data: A name from `cutlayer list datasets`, or the path of inputs; the data that the split was trained on, if
            left out.
        codec: The codec of the requests.
        count: Private inputs that are attacked.
        auxiliary: Inputs that the attackers hold; 0 for all.
        releases: Releases of each input that the most patient attacker observes, where the defense draws at random.
        seed: Seed of the data's parts, the noise and the attackers.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
    """
    from cutlayer.experiment.audit import audit
    from cutlayer.split_folder import open_split

    opened = open_split(split)
    name = data or opened.manifest.data
    if name is None:
        raise ConfigError("The split folder names no data set; name one with --data.")
    found = audit(
        opened, name, codec=codec, count=count, auxiliary=auxiliary, releases=releases, seed=seed, data_root=data_root,
        say=say,
    )  # fmt: skip
    tell_lines(_text(found))


def _text(found: Audit) -> str:
    """The attacks, the ceiling and the flags; at most 120 columns."""
    from cutlayer.records.run import PIXELS
    from cutlayer.report.kit.columns import WIDTH, columns, wrap
    from cutlayer.report.kit.wording import ACCURACY, DASH, IDENTIFIED, LEAKAGE_GAIN, access_name, ceiling_assumes
    from cutlayer.report.runs.ceilings import both, gone, none_sentence

    accuracy = ACCURACY.value(found.accuracy.value) if found.accuracy else "not measured, for the classes are others"
    gains = {row.label: LEAKAGE_GAIN.value(row.leakage_gain.value) for row in found.achieved.rows}
    rows = [
        [
            record.label, access_name(record.access), str(record.n_releases), gains.get(record.label, DASH),
            IDENTIFIED.value(record.top_1.value), "in pixels" if record.how == PIXELS else "by encoding each",
        ]
        for record in found.achieved.identification
    ]  # fmt: skip
    lines = [wrap(f"Defense: {found.defense}. Accuracy: {accuracy}."), ""]
    head = ["ATTACK", "ACCESS", "RELEASES", "LEAKAGE", "IDENTIFIED", "HOW"]
    lines.append(columns(head, rows, left=(0, 1, 5), width=WIDTH, rule=True))
    lines += [wrap(f"{attack.label} failed: {attack.reason}", indent="  ") for attack in found.failed]
    bound = found.ceiling
    if bound.none:
        lines += ["", wrap(f"{none_sentence(bound).capitalize()}.")]
    else:
        head = ["NO ATTACKER EXCEEDS, %", *(f"{at.n_releases} RELEASE{'S'[: at.n_releases > 1]}" for at in bound.at)]
        cells = ["identified / leakage gain", *map(both, bound.at), gone(bound)]
        lines += ["", columns([*head, "GONE AFTER"], [cells], rule=True), wrap(ceiling_assumes([bound.candidates]))]
    lines += [wrap(f"! {flag.flag}: {flag.text}", indent="  ") for flag in found.flags]
    return "\n".join(lines) + "\n"
