"""All checks, in the order in which one would want to know."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from cutlayer.doctor.finding import Finding, note
from cutlayer.doctor.packages import check_packages
from cutlayer.errors import ConfigError, SplitError
from cutlayer.wire.security import Security


def examine(folder: Path | None, connect: str | None, security: Security, *, insecure: bool) -> Iterator[Finding]:
    """What is found, one by one.

    Args:
        folder: A split folder, if there is one.
        connect: Address of the server, if there is one.
        security: The files for it.
        insecure: Allow plain text off loopback.

    Raises:
        ConfigError: What the user wrote makes no sense.
    """
    packages = list(check_packages())
    yield from packages
    if any(finding.status == "fault" for finding in packages):
        yield note("the rest", "was not looked at, for it takes these packages", "mend them and come again")
        return
    # Not above: a package that cannot be loaded would take the doctor with it.
    from cutlayer.doctor.files import check_security, check_split
    from cutlayer.doctor.machine import check_machine
    from cutlayer.doctor.server import check_server
    from cutlayer.split_folder import open_split
    from cutlayer.wire.address import Address

    if connect is not None:
        address = Address.parse(connect)
        if address.scheme == "inprocess":
            raise ConfigError(f"{connect} is no other process; name one, such as grpc://127.0.0.1:8001.")
        security.check(address.scheme, listening=False)
    yield from check_machine(Path())
    keys = list(check_security(security))
    yield from keys
    manifest = None
    if folder is not None:
        yield from check_split(folder)
        with contextlib.suppress(SplitError):
            manifest = open_split(folder).manifest
    if connect is not None and not any(finding.status == "fault" for finding in keys):
        yield from check_server(connect, security, manifest, insecure=insecure)
    elif connect is not None:
        yield note("server", f"{connect} was not asked, for it takes these files", "mend them and come again")
