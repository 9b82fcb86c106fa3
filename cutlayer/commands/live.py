"""The command that opens a room: devices and phones join, and a page shows what the server rebuilds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, Suppress, arg

from cutlayer.errors import ConfigError
from cutlayer.options import At, DataRoot, OutFolder, Seed, Within
from cutlayer.terminal import tell
from cutlayer.wire.security import Security


@dataclass(frozen=True, slots=True)
class Room(Security):  # noqa: D101  tyro shows the texts of Security
    ca: Suppress[Path | None] = None
    token_file: Suppress[Path | None] = None
    curve_server: Suppress[Path | None] = None


RoomSecurity = Annotated[Room, arg(name="")]


def live(
    split: Positional[Annotated[Path | None, At("folder"), arg(metavar="SPLIT")]] = None,
    /,
    data: str | None = None,
    attacks: str | None = None,
    host: str = "127.0.0.1",
    port: Annotated[int, Within(0, 65_535)] = 0,
    share: Annotated[str | None, arg(metavar="HOST")] = None,
    out: OutFolder = Path("live"),
    most_devices: Annotated[int, Within(1, 1000)] = 50,
    security: RoomSecurity = Room(),
    seed: Seed = 0,
    data_root: DataRoot = None,
) -> None:
    """Open a room: the page shows what devices see or say, and what an attacker on the server rebuilds or reads of it.

    Prints the address of the page and the codes by which devices join, and ends with Ctrl-C or SIGTERM.

    Args:
        split: A split folder of images or of a text model; if left out, a small one is trained once, on --data, and
            kept in --out.
        data: A name from `cutlayer list datasets`, such as documentation, or the path of images: the attackers hold its
            auxiliary part. The data set that the split was trained on if left out.
        attacks: The attackers side by side: names from `cutlayer list attacks`; ridge,decoder for images and
            token-ridge,nearest-activation for sentences if left out.
        host: Where to listen: a name or an address of this machine. Off the loopback it needs --cert and --key, or
            --insecure.
        port: Port of the page; 0 takes a free one.
        share: Name or address under which others reach this machine, for the codes; that of --host if left out.
        out: Folder for the split that is trained, for what the attackers learn, and for the tokens, with which devices
            come back after a new start; delete its tokens.json for new ones.
        most_devices: Devices that may be connected at a time.
        security: Files for encryption and authentication.
        seed: Seed of the data's parts and of the attackers.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
    """
    from cutlayer.live.prepare import DATA, check_attackers, usual_attackers, usual_split
    from cutlayer.live.serve import open_room
    from cutlayer.machine.files import check_writable
    from cutlayer.registry import ATTACKS
    from cutlayer.split_folder import open_split
    from cutlayer.stopping import StopSignal

    names = None if attacks is None else tuple(dict.fromkeys(name for name in attacks.split(",") if name))
    if names == ():
        raise ConfigError("--attacks takes names from `cutlayer list attacks`, such as ridge,decoder.")
    for name in names or ():
        ATTACKS.load(name)
    check_writable(out, "folder")
    folder = open_split(split) if split is not None else usual_split(out, data or DATA, data_root, seed)
    names = names or usual_attackers(folder.manifest)
    check_attackers(folder.manifest, names)
    named = data or folder.manifest.data
    if named is None:
        raise ConfigError("The split folder names no data set for the attackers; name one with --data.")
    stop = StopSignal()
    with open_room(
        folder, named, out=out, attackers=names, host=host, port=port, share=share, most_devices=most_devices,
        security=security, data_root=data_root, seed=seed,
    ) as opened:  # fmt: skip
        tell(f"page     {opened.screen}")
        text = folder.manifest.sequence
        tell(f"phones   {opened.phone}")
        tell(f"devices  cutlayer edge --join '{opened.code}'{' --text' if text else ''}")
        if opened.local:
            tell(
                "reached  from this machine only; for phones and other machines: --host 0.0.0.0 "
                "--share ADDRESS --cert FILE --key FILE, or --insecure in a network that you trust"
            )
        opened.runtime.begin()
        tell(f"ready {' '.join(opened.addresses.values())}")
        stop.wait()
