"""The server's process: one split folder, one address, until it is told to stop."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Literal

from cloud.service import Service
from cloud.tail import OnnxTail, Tail, TorchTail
from cloud.tap import Tap
from cutlayer.compute import tune_allocator
from cutlayer.spec import Manifest
from cutlayer.wire.message import tail_name
from cutlayer.wire.transport import listen as listen_at


def serve(
    folder: Path,
    listen: str,
    *,
    tail: Literal["onnx", "torch"] = "onnx",
    tap: Path | None = None,
    threads: int | None = None,
    insecure: bool = False,
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish those that have arrived and return.

    Once it answers, it prints one line: ``ready ADDRESS MODEL@CUT version=...``.

    Args:
        folder: A split folder; its `split.json` and the files of the tail are checked.
        listen: Address; port 0 takes a free one, and the ready line names it.
        tail: Runtime of the tail.
        tap: Folder for a copy of everything that arrives; none when left out.
        threads: That compute one request; all cores when None.
        insecure: Allow plain text off loopback.

    Raises:
        SplitError: The folder is damaged.
        WireError: The address is taken.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    tune_allocator()
    manifest = Manifest.load(folder)
    tapped = None if tap is None else Tap(tap)
    try:
        server = listen_at(
            listen, Service(manifest, load_tail(folder, manifest, tail, threads), tapped), insecure=insecure
        )
        try:
            print(f"ready {server.address} {tail_name(manifest)} version={manifest.version}", flush=True)
            stop.wait()
        finally:
            server.close()
    finally:
        if tapped is not None:
            tapped.close()


def load_tail(folder: Path, manifest: Manifest, runtime: Literal["onnx", "torch"], threads: int | None) -> Tail:
    """The tail of a split folder, its files checked against the manifest."""
    if runtime == "torch":
        return TorchTail(folder, threads)
    manifest.verify(folder, "tail.onnx")
    return OnnxTail(folder / "tail.onnx", threads)
