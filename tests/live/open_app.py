"""A room without attackers: the web server and the service of a tiny split, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutlayer.cloud.admission import Limits
from cutlayer.cloud.service import Service
from cutlayer.live.app import application
from cutlayer.live.room import Room
from cutlayer.live.tokens import Tokens
from cutlayer.live.trust import authority_beside
from cutlayer.live.web import Web
from cutlayer.split_folder import SplitFolder, open_split
from cutlayer.wire.address import Address
from cutlayer.wire.transport import Handler
from tests.tiny_split import write_split


@dataclass
class App:
    """An open room, and where its web server listens."""

    room: Room
    tokens: Tokens
    split: SplitFolder
    web: Web
    app: Any

    @property
    def netloc(self) -> str:
        return self.web.address.netloc

    @property
    def phone(self) -> str:
        return f"{self.web.address}/phone#{self.tokens.join}"


@contextmanager
def open_app(
    folder: Path,
    *,
    most_devices: int = 50,
    defense: dict[str, Any] | None = None,
    handler: Handler | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    tokens: Tokens | None = None,
    certs: Path | None = None,
) -> Iterator[App]:
    """Open a room of the split in a folder, or of a tiny one, whose service is `handler` if there is one."""
    if not (folder / "split.json").exists():
        write_split(folder, defense=defense)
    split = open_split(folder)
    room, tokens = Room(split.manifest, ("zero", "one", "two"), most_devices), tokens or Tokens()
    service = Service(split.manifest, split.tail(threads=1), limits=Limits(8, 0, 64 << 20, 4), watch=room.see)
    try:
        authority = certs and authority_beside(certs / "server.pem")
        app = application(room, handler or service, split, tokens, authority)
        address = Address("https" if certs else "http", host, port)
        cert, key = (certs and certs / f"server.{ending}" for ending in ("pem", "key"))
        with closing(Web(app, address, cert, key, 300)) as web:
            yield App(room, tokens, split, web, app)
    finally:
        service.drain(1.0)
