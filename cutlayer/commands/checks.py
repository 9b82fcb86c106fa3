"""Checks: one profile against another, and a device against what it needs."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cutlayer.commands.security import Client, ClientSecurity
from cutlayer.options import At, Gigabytes, Seconds
from cutlayer.terminal import say, tell, tell_lines


def compare(
    before: Positional[Annotated[Path, At("folder", "file"), arg(metavar="BEFORE")]],
    after: Positional[Annotated[Path, At("folder", "file"), arg(metavar="AFTER")]],
    /,
    fail_if: Annotated[UseAppendAction[list[str]], arg(metavar='"METRIC OP LIMIT"')] = [],  # noqa: B006
) -> None:
    """Show two profiles side by side; exit code 1 if the second one breaks a condition, for continuous integration.

    Args:
        before: Folder that `cutlayer profile` wrote, or its profile.json.
        after: Folder or profile.json to compare with it.
        fail_if: Condition such as "p95 > 1.1x" or "head.p50 > 10%" (against BEFORE), "p50 > 50ms" or "bytes > 4096B"
            (of AFTER); may be given several times.
    """
    from cutlayer.errors import ConfigError
    from cutlayer.profile import compare as profiles
    from cutlayer.profile import conditions

    required = [conditions.parse(text) for text in fail_if]
    loaded = profiles.load(before), profiles.load(after)
    for difference in profiles.differences(*loaded):
        say(f"note: {difference}")
    first, second = map(profiles.figures, loaded)
    metrics = dict.fromkeys([condition.metric for condition in required] or ["p50"])
    tables = {metric: conditions.compare(first, second, metric) for metric in metrics}
    timed = any(rows[0][1].unit == "ns" for rows in tables.values())
    for profile, which in zip(loaded, ("first", "second"), strict=True):
        if reason := profiles.invalid(profile, which):
            if required and timed:
                raise ConfigError(f"{reason} Profile again, or compare without --fail-if.")
            say(f"note: {reason}")
    failed = False
    for metric, rows in tables.items():
        tell_lines(conditions.table(metric, rows))
        n_apart = len({row for side in (first, second) for row in side if row.metric == metric}) - len(rows)
        if n_apart:
            say(f"note: {n_apart} more values of {metric} have no counterpart of the same source in the other profile.")
        for condition in (condition for condition in required if condition.metric == metric):
            broken = conditions.broken(condition, rows)
            tell(f"{'FAIL' if broken else 'ok'}: {condition.text}, {len(broken)} of {len(rows)}")
            failed = failed or bool(broken)
    if failed:
        sys.exit(1)


def doctor(
    folder: Positional[Annotated[Path | None, At("folder"), arg(metavar="FOLDER")]] = None,
    /,
    connect: str | None = None,
    limit_s: Seconds | None = None,
    limit_gb: Gigabytes | None = None,
    security: ClientSecurity = Client(),  # noqa: B008
) -> None:
    """Check what this device lacks and say what to do about it; exit code 1 if there is a fault.

    Args:
        folder: A split folder, whose head is run once.
        connect: Address of the cloud; the connection is measured with up to 16 MiB of random bytes.
        limit_s: Time in seconds that the check of the split folder may take; 600 if left out.
        limit_gb: Memory in GB that it may take; three quarters of this machine's if left out.
        security: Files for encryption and authentication.
    """
    from cutlayer.doctor.examine import examine
    from cutlayer.doctor.finding import tell_findings
    from cutlayer.machine.confined import limits

    tell_findings(examine(folder, connect, security, limits(limit_s, limit_gb)))
