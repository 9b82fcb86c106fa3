"""All checks, from the most basic to those that depend on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from cutlayer.doctor.finding import Finding, fault, note
from cutlayer.doctor.packages import check_packages
from cutlayer.errors import ConfigError, SplitError
from cutlayer.machine.confined import Limits, confined
from cutlayer.wire.security import Security


def examine(
    folder: Path | None, connect: str | None, security: Security, confinement: Limits | None = None
) -> Iterator[Finding]:
    """Check this device, and a split folder and a server if they are given; yield the findings.

    Args:
        folder: A split folder.
        connect: Address of a server.
        security: Files for encryption and authentication.
        confinement: What the check of the split folder may take; None makes it in this process, unlimited.

    Raises:
        ConfigError: The address or the security options are not valid.
    """
    packages = list(check_packages())
    yield from packages
    if any(finding.status == "fault" for finding in packages):
        yield note(
            "other checks", "not made, since they need these packages", "install the packages and run this again"
        )
        return
    # Imported late, because these modules need the packages checked above.
    from cutlayer.doctor.files import check_security, check_split
    from cutlayer.doctor.machine import check_machine
    from cutlayer.doctor.server import check_server
    from cutlayer.doctor.telemetry import check_telemetry
    from cutlayer.split_folder import open_split
    from cutlayer.wire.connect import check_secure

    if connect is not None:
        _, scheme = check_secure(connect, security, listening=False)
        if not scheme.networked:
            raise ConfigError(f"{connect} is in this process; give a server's address, such as grpc://127.0.0.1:8001.")
    yield from check_telemetry()
    yield from check_machine(Path())
    keys = list(check_security(security))
    yield from keys
    manifest = None
    if folder is not None:
        yield from check_split(folder) if confinement is None else _confined(check_split, folder, confinement)
        with contextlib.suppress(SplitError):
            manifest = open_split(folder).manifest
    if connect is not None and not any(finding.status == "fault" for finding in keys):
        yield from check_server(connect, security, manifest)
    elif connect is not None:
        yield note("server", f"{connect} was not checked, since that needs these files", "fix them and run this again")


def _confined(check: Callable[[Path], Iterator[Finding]], folder: Path, limits: Limits) -> Iterator[Finding]:
    """The findings of a check that opens files which others may have made."""
    try:
        for finding in confined(lambda: list(check(folder)), limits, folder):
            yield Finding(*finding)
    except SplitError as error:
        yield fault("split", str(error), "copy the folder again from the machine that made it")
