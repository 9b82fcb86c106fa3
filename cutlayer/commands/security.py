"""The security options of the commands. `Security` declares them; each side is offered those that it can use."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Suppress, arg

from cutlayer.wire.security import Security


# What is not offered is suppressed for tyro as it is today, and no argument for the oldest one: that only hides what is
# suppressed, so that no other option could have its name.
@dataclass(frozen=True, slots=True)
class Client(Security):  # noqa: D101  tyro shows the texts of Security
    allow: Suppress[Path | None] = field(default=None, init=False)


@dataclass(frozen=True, slots=True)
class Server(Security):  # noqa: D101  tyro shows the texts of Security
    curve_server: Suppress[Path | None] = field(default=None, init=False)


# Without a name, the options are --ca and so on, not --security.ca.
ClientSecurity = Annotated[Client, arg(name="")]
ServerSecurity = Annotated[Server, arg(name="")]
