"""The terminal's view of a training: one line for each round while it runs, and a summary at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cutlayer.records.training import EVALUATION, Leak, RoundRecord, TrainingRecord
from cutlayer.report.kit.columns import WIDTH, columns, plain, wrap
from cutlayer.report.kit.wording import ACCURACY, DASH, LEAKAGE_GAIN, seconds, size

KINDS = ("up smashed", "up weights", "down gradient", "down weights")
"""Bytes with a column of their own; all others share one."""

_HEAD = (
    "ROUND", "ACCURACY", "CLIENTS", "WORST", "LOSS", "SMASHED", "WEIGHTS", "GRADIENT", "WEIGHTS", "OTHER", "CLIENT",
    "SERVER", "MEMORY", "ROUND IN",
)  # fmt: skip
_UNITS = ("", "ALL", "MEAN", "10 %", "", "UP", "UP", "DOWN", "DOWN", "BYTES", "TIME", "TIME", "CLIENT", "")
_WIDTHS = (5, 8, 7, 7, 6, 8, 8, 8, 8, 8, 7, 7, 8, 8)


def heading(record: TrainingRecord) -> str:
    """What is trained, and the titles of the columns of `line`."""
    title = wrap(f"{record.plan}, {record.planned} round{'s'[: record.planned > 1]} ({record.id})")
    return f"{title}\n{_aligned(_HEAD)}\n{_aligned(_UNITS)}"


def line(entry: RoundRecord) -> str:
    """One round. Times and memory of the clients are those of the slowest and of the largest."""
    busy = [client.busy_s for client in entry.clients if math.isfinite(client.busy_s)]
    memory = [client.rss_bytes for client in entry.clients if client.rss_bytes is not None]
    other = sum(n for kind, n in entry.traffic.items() if kind not in (*KINDS, *EVALUATION))
    accuracy = ACCURACY.value(entry.accuracy.value) if entry.accuracy else DASH
    cells = [str(entry.round), accuracy, ACCURACY.value(entry.mean), ACCURACY.value(entry.worst)]
    cells.append(DASH if math.isnan(entry.loss) else f"{entry.loss:.3f}")
    cells += [size(entry.traffic[kind]) if kind in entry.traffic else DASH for kind in KINDS]
    cells += [size(other), seconds(max(busy, default=math.nan)), seconds(entry.server_s)]
    return _aligned([*cells, size(max(memory, default=None)), seconds(entry.seconds)])


def summary(record: TrainingRecord) -> str:
    """The result beside what it has to be compared with, and who has seen what."""
    last = record.last
    if last is None or last.accuracy is None:
        return wrap("No accuracy was measured.")
    head = ["RESULT", "ACCURACY", "95 % INTERVAL", "CLIENTS MEAN", "WORST 10 %", "UP", "DOWN"]
    sent = [size(sum(entry.sent(way) for entry in record.rounds)) for way in ("up", "down")]
    rows = [
        [
            f"{record.label}, after round {last.round}", ACCURACY.value(last.accuracy.value),
            f"{ACCURACY.interval(last.accuracy)} %", ACCURACY.value(last.mean), ACCURACY.value(last.worst), *sent,
        ]
    ]  # fmt: skip
    if record.local is not None:
        local = ACCURACY.value(record.local.value), f"{ACCURACY.interval(record.local)} %"
        rows.append(["each client alone", *local, ACCURACY.value(record.local_mean), DASH, "0 B", "0 B"])
    if not math.isnan(record.majority):
        rows.append(["always the most frequent class", ACCURACY.value(record.majority), "", DASH, DASH, DASH, DASH])
    return columns(head, rows, width=WIDTH, rule=True) + "\n" + about(record)


def about(record: TrainingRecord) -> str:
    """What the columns mean, and who sees what."""
    explained = wrap(
        f"Accuracy on {record.n_test:,} test samples. Clients mean and worst 10 %: each client's accuracy on test "
        "samples in the proportions of its own classes; the mean over all clients, and over the worst tenth of them."
    )
    seen = [wrap(f"  {sentence}", indent="    ") for sentence in record.sees]
    if record.leakage:
        each = ", ".join(f"{LEAKAGE_GAIN.value(e.gain.value)} after round {e.round}" for e in record.leakage)
        explained += "\n" + wrap(
            f"Leakage of the smashed data (0 % is the average input, 100 % the exact one; attack "
            f"{record.leakage[0].attack}): {each}."
        )
    if record.detectors or record.alarms:
        explained += "\n" + wrap(f"Detectors of the clients: {watched(record)}")
    if record.guarantee:
        explained += "\n" + wrap(record.guarantee)
    return "\n".join([explained, *(["Who sees what while training:", *seen] if seen else [])])


def watched(record: TrainingRecord) -> str:
    """What the detectors of the clients have said of the server, in a sentence."""
    if not record.alarms:
        return f"{', '.join(record.detectors)}; none has raised an alarm."
    return f"alarm at {'; '.join(map(str, record.alarms))}."


LEAK_HEAD = (
    "Party", "Attack on", "Attack", "Round", "Samples", "AUC", "Accuracy", "Most frequent", "MSE", "Mean input", "PSNR",
    "SSIM",
)  # fmt: skip
LEAK_NOTE = (
    "Labels: AUC for two classes, and the share that is right beside that of the most frequent class; samples whose "
    "labels the attacker knew do not count. A client whose plan sends labels holds its own: its figures are those of "
    "one whose labels another party holds. Inputs: mean squared error beside that of the mean "
    "input, PSNR, and of images SSIM."
)


def leak_cells(leak: Leak) -> list[str]:
    """The cells of `LEAK_HEAD`."""
    cells = [leak.party, leak.target, leak.attack or DASH, str(leak.round or DASH), f"{leak.n:,}" if leak.n else DASH]
    figures = ((leak.auc, 3), (leak.accuracy, 3), (leak.majority, 3), (leak.mse, 4), (leak.mse_of_mean, 4))
    cells += [DASH if math.isnan(value) else f"{value:.{digits}f}" for value, digits in figures]
    cells.append(DASH if math.isnan(leak.psnr_db) else f"{leak.psnr_db:.1f} dB")
    return [*cells, DASH if math.isnan(leak.ssim) else f"{leak.ssim:.3f}"]


def not_run(leaks: Sequence[Leak]) -> list[str]:
    """Why attacks were not run, a sentence for each reason."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for leak in leaks:
        if leak.withheld:
            attacks = reasons.setdefault((leak.party, leak.target, leak.withheld.rstrip(".")), [])
            attacks += [leak.attack] if leak.attack and leak.attack not in attacks else []
    return [
        f"{party}, {target}{', ' * bool(attacks)}{', '.join(attacks)}: {why}."
        for (party, target, why), attacks in reasons.items()
    ]


def leaks(record: TrainingRecord) -> str:
    """What attacks have made of the recordings."""
    rows = [leak_cells(leak) for leak in record.leaks if not leak.withheld]
    shown = columns([cell.upper() for cell in LEAK_HEAD], rows, width=WIDTH, rule=True) if rows else ""
    return "\n".join(
        [part for part in (shown, wrap(LEAK_NOTE) if rows else "") if part]
        + [wrap(f"Not run: {text}", indent="  ") for text in not_run(record.leaks)]
    )


def sent_by_kind(traffic: Mapping[str, int]) -> str:
    """The bytes of a training by kind, the greatest first."""
    return ", ".join(f"{kind} {size(n)}" for kind, n in sorted(traffic.items(), key=lambda item: -item[1]))


def _aligned(cells: Sequence[str]) -> str:
    return " ".join(plain(cell).rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
