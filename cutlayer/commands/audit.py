"""The command that audits a split."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer.errors import ConfigError
from cutlayer.onnx.given import given
from cutlayer.options import At, Count, DataRoot, Gigabytes, OutFolder, Seconds, Seed, Whole
from cutlayer.terminal import say, tell, tell_lines

if TYPE_CHECKING:
    from cutlayer.records.audit import AuditRecord


def audit(
    split: Positional[Annotated[Path, At("folder", "file"), arg(metavar="SPLIT")]],
    /,
    tap: Annotated[Path | None, At("folder"), arg(metavar="TAP")] = None,
    data: str | None = None,
    truth: Annotated[Path | None, At("file"), arg(metavar="FILE.npz")] = None,
    budget: str = "5m",
    out: OutFolder = Path("audit"),
    fail_if: Annotated[UseAppendAction[list[str]], arg(metavar='"METRIC OP LIMIT"')] = [],  # noqa: B006
    codec: str | None = None,
    count: Count = 200,
    auxiliary: Whole = 2000,
    releases: Count = 4,
    seed: Seed = 0,
    mean: str | None = None,
    std: str | None = None,
    data_root: DataRoot = None,
    max_memory: Gigabytes | None = None,
    limit_s: Seconds | None = None,
    limit_gb: Gigabytes | None = None,
) -> None:
    """Audit a split within a time, and write one page for a reviewer; exit code 1 if a --fail-if holds.

    Attacks run from the cheapest on, a watch list among them, with every access that can be had. Writes audit.html and
    audit.json.

    Args:
        split: A split folder, or the ONNX file of a head that another program has exported.
        tap: Folder that `cutlayer cloud --tap` wrote. With --truth, what it holds is attacked and scored; without, it
            is attacked, and the same attacks are scored on data of the kind.
        data: A name from `cutlayer list datasets`, or the path of data of the kind, such as a folder of at least 210
            images; the data that the split was trained on, if left out.
        truth: What the requests of the tap carried: the file of `cutlayer edge --record`, the record.npz of a run, or
            an .npz file with the inputs as x, in the order of the requests.
        budget: Time for the audit, such as 90s or 5m: attacks that take steps make fewer of them, or are not run.
        out: Folder for the page and the record.
        fail_if: Condition such as "leakage > 0.5", "identified.black-box >= 10%" or "psnr > 20dB": where it holds, the
            audit fails, with exit code 1. May be given several times; docs/audit.md names the figures.
        codec: The codec of the requests; what those of the tap say, or raw, if left out.
        count: Inputs that are attacked, at most.
        auxiliary: Inputs that the attackers hold, 50 or more; 0 for all.
        releases: Simulated releases of each input that the most patient attacker observes, where the defense draws at
            random.
        seed: Seed of the data's parts, the noise and the attackers.
        mean: For the file of a head, values subtracted from images in [0, 1] first, such as 0.485,0.456,0.406.
        std: For the file of a head, values by which the result is divided, such as 0.229,0.224,0.225.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
        max_memory: Memory in GB that this process may claim. Linux only.
        limit_s: For the file of a head, the time in seconds that reading it may take; 600 if left out.
        limit_gb: For the file of a head, the memory in GB that reading it may take.
    """
    begin_s = time.perf_counter()
    from cutlayer.machine.files import check_writable
    from cutlayer.profile.plan import duration_ns
    from cutlayer.records.audit import AUDIT_FILE, AUDIT_PAGE, parse

    budget_s, conditions = duration_ns(budget) / 1e9, [parse(text) for text in fail_if]
    check_writable(out, "folder")
    if truth is not None and tap is None:
        raise ConfigError("--truth says what the requests of a tap carried; name the tap with --tap.")
    foreign = split.suffix == ".onnx" or split.is_file()
    with ExitStack() as stack:
        if foreign:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cutlayer-"))) / "split"
            _read_head(split, folder, mean, std, limit_s, limit_gb)
        elif mean is not None or std is not None:
            raise ConfigError("--mean and --std are for the ONNX file of a head; a split folder has its own.")
        from cutlayer.machine.memory import limit_memory
        from cutlayer.split_folder import open_split

        limit_memory(max_memory)
        opened = open_split(folder if foreign else split)
        name = data or opened.manifest.data
        if name is None:
            raise ConfigError(f"{split} names no data set; name data of the kind with --data.")
        from cutlayer.experiment.audit import audit
        from cutlayer.records.dataclass_json import dump
        from cutlayer.records.files import write_json, write_text
        from cutlayer.report.audit.page import page

        record, shown = audit(
            opened, name, budget_s=budget_s, say=say, foreign=foreign, tap=tap, truth=truth, codec=codec or "",
            count=count, auxiliary=auxiliary, releases=releases, seed=seed, data_root=data_root, conditions=conditions,
            begin_s=begin_s,
        )  # fmt: skip
    write_text(out / AUDIT_PAGE, page(record, shown.originals, shown.rebuilt, shown.recorded, shown.legend))
    write_json(out / AUDIT_FILE, dump(record))
    tell_lines(_text(record))
    tell(f"The page is {(out / AUDIT_PAGE).resolve()}")
    for entry in record.conditions:
        tell(f"{'FAIL' if entry.broken else 'ok'}: {entry.says}")
    if any(entry.broken for entry in record.conditions):
        sys.exit(1)


def _read_head(
    file: Path, folder: Path, mean: str | None, std: str | None, limit_s: float | None, limit_gb: float | None
) -> None:
    """Write the file of a head as a split folder, in a process with limits."""
    from cutlayer.machine.confined import confined, limits
    from cutlayer.onnx.head import write_head

    stated = given(mean=mean, std=std)

    def write() -> None:
        write_head(file, folder, stated)

    confined(write, limits(limit_s, limit_gb), file)


def _text(record: AuditRecord) -> str:
    """The verdict, the attacks, the ceiling, what was not tried and the flags; at most 120 columns."""
    from cutlayer.records.run import PIXELS
    from cutlayer.report.audit.useful import useful
    from cutlayer.report.audit.verdict import no_ceiling
    from cutlayer.report.kit.columns import WIDTH, columns, wrap
    from cutlayer.report.kit.kinds import kind_of
    from cutlayer.report.kit.wording import DASH, IDENTIFIED, LEAKAGE_GAIN, access_name, ceiling_assumes
    from cutlayer.report.runs.ceilings import both, gone

    name, value, about = useful(record)
    kept = f"{value} {about}" if record.vectors else value or f"not measured. {about}"
    gains = {row.label: LEAKAGE_GAIN.value(row.leakage_gain.value) for row in record.attacks}
    rows = [
        [
            found.label, access_name(found.access), str(found.n_releases), gains.get(found.label, DASH),
            IDENTIFIED.value(found.top_1.value),
            kind_of(record.modality).compared if found.how == PIXELS else "by encoding each",
        ]
        for found in record.identification
    ]  # fmt: skip
    lines = [wrap(record.verdict), "", wrap(f"Defense: {record.defense}. {name}: {kept}"), ""]
    head = ["ATTACK", "ACCESS", "RELEASES", "LEAKAGE", "IDENTIFIED", "HOW"]
    lines.append(columns(head, rows, left=(0, 1, 5), width=WIDTH, rule=True))
    lines += [wrap(f"{attack.label} failed: {attack.reason}", indent="  ") for attack in record.failed]
    bound = record.ceiling
    if not bound.at:
        lines += ["", wrap(f"No ceiling: {no_ceiling(record)}.")]
    else:
        head = ["NO ATTACKER EXCEEDS, %", *(f"{at.n_releases} RELEASE{'S'[: at.n_releases > 1]}" for at in bound.at)]
        cells = ["identified / leakage gain", *map(both, bound.at), gone(bound)]
        lines += ["", columns([*head, "GONE AFTER"], [cells], rule=True), wrap(ceiling_assumes([bound.candidates]))]
    why: dict[str, list[str]] = {}
    for entry in record.not_tried:
        why.setdefault(entry.why, []).append(entry.label)
    lines += ["", *(wrap(f"Not tried ({reason}): {', '.join(names)}.", indent="  ") for reason, names in why.items())]
    lines += [wrap(f"! {flag.flag}: {flag.text}", indent="  ") for flag in record.flags]
    return "\n".join(lines) + "\n"
