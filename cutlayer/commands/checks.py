"""What can be checked: two profiles against each other, and a device against what it needs."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer.commands import say


def compare(
    before: Positional[Annotated[Path, arg(metavar="BEFORE")]],
    after: Positional[Annotated[Path, arg(metavar="AFTER")]],
    /,
    fail_if: Annotated[UseAppendAction[list[str]], arg(metavar='"METRIC OP LIMIT"')] = [],  # noqa: B006
) -> None:
    """Two profiles side by side; exit code 1 where the second breaks a condition, for continuous integration.

    Args:
        before: Folder that `cutlayer profile` wrote, or its profile.json.
        after: The other one.
        fail_if: Such as "p95 > 1.1x" or "head.p50 > 10%" (against BEFORE), "p50 > 50ms" or "bytes > 4096B" (of AFTER);
            may be given several times.
    """
    from cutlayer.errors import ConfigError
    from cutlayer.profile import compare as profiles
    from cutlayer.profile import conditions

    asked = [conditions.parse(text) for text in fail_if]
    loaded = profiles.load(before), profiles.load(after)
    for difference in profiles.differences(*loaded):
        say(f"note: {difference}")
    first, second = map(profiles.figures, loaded)
    metrics = dict.fromkeys([condition.metric for condition in asked] or ["p50"])
    tables = {metric: conditions.compare(first, second, metric) for metric in metrics}
    timed = any(rows[0][1].unit == "ns" for rows in tables.values())
    for profile, which in zip(loaded, ("first", "second"), strict=True):
        if reason := profiles.invalid(profile, which):
            if asked and timed:
                raise ConfigError(f"{reason} Profile again, or compare without --fail-if.")
            say(f"note: {reason}")
    failed = False
    for metric, rows in tables.items():
        print(conditions.table(metric, rows))
        n_apart = len({row for side in (first, second) for row in side if row.metric == metric}) - len(rows)
        if n_apart:
            say(f"note: {n_apart} more of {metric} have nothing of the same source in the other profile.")
        for condition in [one for one in asked if one.metric == metric]:
            broken = conditions.broken(condition, rows)
            print(f"{'FAIL' if broken else 'ok'}: {condition.text}, {len(broken)} of {len(rows)}")
            failed = failed or bool(broken)
    if failed:
        sys.exit(1)


def doctor(
    folder: Positional[Annotated[Path | None, arg(metavar="FOLDER")]] = None,
    /,
    connect: str | None = None,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    token_file: Path | None = None,
    curve_key: Path | None = None,
    curve_server: Path | None = None,
    insecure: bool = False,
) -> None:
    """What this device lacks, and what to do about it; exit code 1 where something hinders.

    Args:
        folder: A split folder; its head is tried.
        connect: Address of the cloud; the way there is measured, by up to 16 MiB of noise.
        ca: Certificate (PEM) of the authority that signed the server's.
        cert: This side's certificate (PEM), for TLS over gRPC.
        key: Its private key (PEM).
        token_file: File with the token that the server asks for, over gRPC.
        curve_key: This side's secret key, for CURVE over ZeroMQ.
        curve_server: The server's public key, over ZeroMQ.
        insecure: Allow plain text off loopback.
    """
    from cutlayer.doctor.examine import examine
    from cutlayer.wire.security import Security

    security = Security(ca, cert, key, token_file, curve_key, curve_server)
    found = []
    for finding in examine(folder, connect, security, insecure=insecure):
        print(finding, flush=True)
        found.append(finding.status)
    print(f"faults: {found.count('fault')}, notes: {found.count('note')}")
    if "fault" in found:
        sys.exit(1)
