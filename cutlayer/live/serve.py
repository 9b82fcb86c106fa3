"""A room, opened: the service behind its transports, the web server, and the attackers."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cutlayer.cloud.admission import Limits
from cutlayer.cloud.service import Service
from cutlayer.data.load import open_data
from cutlayer.errors import ConfigError, CutlayerError
from cutlayer.live.app import application
from cutlayer.live.attack_plan import Plan
from cutlayer.live.attackers import Attackers
from cutlayer.live.code import phone_url, qr_svg, screen_url
from cutlayer.live.room import Room
from cutlayer.live.runtime import Runtime
from cutlayer.live.tokens import Tokens
from cutlayer.live.trust import authority_beside
from cutlayer.live.web import Web
from cutlayer.machine.files import new_file
from cutlayer.split_folder import SplitFolder
from cutlayer.wire.address import Address, check_host
from cutlayer.wire.connect import listen
from cutlayer.wire.join_code import JoinCode, fingerprint, origin
from cutlayer.wire.security import Security, read, without_passphrase
from cutlayer.wire.visitors import Visitors

MOST_SAMPLES = 4
"""Samples of a request; a device sends one."""
BUDGET_BYTES = 64 << 20


@dataclass(frozen=True)
class Opened:
    """An open room.

    Attributes:
        room: The room.
        tokens: Its tokens.
        screen: Address of the page.
        phone: Address that a phone opens.
        code: The join code for devices.
        addresses: Where devices send their requests, by the name of the transport.
        runtime: What phones compute the head with.
        local: Whether the room is reached from this machine only.
    """

    room: Room
    tokens: Tokens
    screen: str
    phone: str
    code: JoinCode
    addresses: dict[str, str]
    runtime: Runtime
    local: bool


@contextmanager
def open_room(
    split: SplitFolder,
    data: str,
    *,
    out: Path,
    attackers: tuple[str, ...],
    host: str = "127.0.0.1",
    port: int = 0,
    share: str | None = None,
    most_devices: int = 50,
    security: Security | None = None,
    data_root: Path | None = None,
    seed: int = 0,
) -> Iterator[Opened]:
    """Open a room during the block.

    Args:
        split: The split folder.
        data: Name of the data set, whose auxiliary part is the attackers' own.
        out: Folder of the tokens, and of what the attackers have learned.
        attackers: Names of the attackers; without any, nothing is attacked.
        host: Where to listen.
        port: Port of the web server; 0 takes a free one. The transports take free ones.
        share: Name or address under which others reach this machine, for the codes.
        most_devices: Devices at a time.
        security: Certificate and keys; plain text on this machine if left out.
        data_root: Folder of the data sets that are not embedded.
        seed: Seed of the data set's parts and of the attackers.

    Raises:
        ConfigError: The split takes neither images nor sentences, or plain text would leave the machine.
        WireError: It cannot listen there.
    """
    security = security or Security()
    check_shown(split)
    scheme: Literal["http", "https"] = "https" if security.cert else "http"
    web_address = Address(scheme, host, port)
    security.refuse_plain_text(web_address, ("cert", "key"))
    reached = share or _reached(host)
    tokens = Tokens.kept(out)
    certificate = None if security.cert is None else read(security.cert).decode("ascii", "replace")
    if security.key is not None:
        without_passphrase(security.key)
    room = Room(split.manifest, class_names(split, data, data_root, seed), most_devices)
    with ExitStack() as opened:
        visitors = opened.enter_context(closing(Visitors()))
        limits = Limits(8, 0, BUDGET_BYTES, MOST_SAMPLES)
        service = Service(split.manifest, split.tail(threads=1), limits=limits, visitors=visitors, watch=room.see)
        opened.callback(service.drain, 1.0)
        for name, secured in _listeners(security, tokens, out).items():
            server = listen(str(Address(name, host, 0)), service, security=secured, visitors=visitors)
            opened.enter_context(closing(server))
            room.addresses[name] = str(Address(name, reached, server.address.port))
        authority = None if security.cert is None else authority_beside(security.cert)
        app = application(room, service, split, tokens, authority)
        web = opened.enter_context(closing(Web(app, web_address, security.cert, security.key, 4 * most_devices + 64)))
        at = origin(scheme, reached, web.address.port)
        shown = "" if certificate is None else fingerprint(ssl.PEM_cert_to_DER_cert(_first(certificate)))
        code = JoinCode(scheme, reached, web.address.port, tokens.join, shown)
        room.certificate = certificate
        if security.curve_key is not None:
            room.curve_server = _public(security.curve_key)
        phone = phone_url(at, tokens.join)
        local = share is None and not web_address.leaves_machine
        room.codes.update(code=str(code), phone=phone, qr=qr_svg(phone), local=local)
        if attackers:
            opened.enter_context(closing(Attackers(room, Plan(split.path, data, data_root, attackers, out, seed))))
        page, runtime = screen_url(at, tokens.screen), app.state.runtime
        yield Opened(room, tokens, page, phone, code, dict(room.addresses), runtime, local)


def check_shown(split: SplitFolder) -> None:
    """Refuse a split that takes neither one gray or color image nor a sentence. Raises ConfigError."""
    manifest = split.manifest
    shape = manifest.input.shape
    if manifest.sequence and split.tokenizer is None:
        raise ConfigError(
            f"A room shows words, and {split.path} holds no tokenizer.json; make it with `cutlayer split`."
        )
    if manifest.ends is not None or not (manifest.sequence or (len(shape) == 3 and shape[0] in (1, 3))):
        raise ConfigError(
            f"A room shows images or sentences, and {split.path} takes {manifest.input}; name a split of gray or color "
            "images, or of a text model."
        )


def class_names(split: SplitFolder, data: str, data_root: Path | None, seed: int) -> tuple[str, ...]:
    """Names of the classes that the tail of a split answers; empty, so that numbers are shown, where nobody knows them.

    The attackers' data may be of other classes; they name those of the split only where it is the split's own data.

    Raises:
        ConfigError: The attackers' data set is unknown.
        DataError: It cannot be read.
    """
    manifest = split.manifest
    how: Any = {"shape": manifest.input.shape, "tokenizer": split.tokenizer}
    names = open_data(data, data_root, seed, **how).classes  # refused early where it is unknown
    if manifest.data != data:
        if manifest.data is None:
            return ()
        try:
            names = open_data(manifest.data, data_root, seed, **how).classes
        except CutlayerError:
            return ()
    return tuple(names) if len(names) == manifest.classes else ()


def _listeners(security: Security, tokens: Tokens, out: Path) -> dict[str, Security]:
    """The transports at which devices are answered: those that these files encrypt, or all where nothing has to be."""
    token = out / "join-token"
    with new_file(token, 0o600) as file:
        file.write(tokens.join.encode())
    plain = Security(insecure=security.insecure)
    grpc = replace(plain, cert=security.cert, key=security.key, token_file=token)
    if security.cert is None:
        return {"grpc": grpc, "zmq": replace(plain, curve_key=security.curve_key, allow=security.allow)}
    if security.curve_key is None:
        return {"grpc": grpc}
    return {"grpc": grpc, "zmq": replace(plain, curve_key=security.curve_key, allow=security.allow)}


def _first(pem: str) -> str:
    """The first certificate of a file, which is the server's own."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    inner = pem.partition(begin)[2].partition(end)[0]
    if not inner:
        raise ConfigError("The file of --cert holds no certificate (PEM).")
    return f"{begin}{inner}{end}\n"


def _public(secret: Path) -> str:
    import zmq

    return zmq.curve_public(read(secret).strip()).decode()


def _reached(host: str) -> str:
    """The address under which others reach this machine, where it listens at all of its addresses."""
    try:
        check_host(host)
        unspecified = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host
    if not unspecified:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the system only chooses its own address
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
