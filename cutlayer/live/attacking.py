"""The attackers' process: it learns from its own pictures, and then rebuilds every frame that it is given."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cutlayer.live.attack_plan import Plan

PRIORITY = 10
"""Added to the niceness of the process, so that the server and devices on this machine come first. With 15, three other
busy processes on two cores made its first rebuilt picture wait for more than a minute."""


def work(server: Connection, plan: Plan) -> None:
    """Attack what the server sends until it closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the server, which then closes the connection
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    import torch

    torch.set_num_threads(1)
    from cutlayer.live.attack_team import Team

    with contextlib.suppress(OSError):
        os.nice(PRIORITY)

    lock = threading.Lock()

    def tell(kind: str, content: Any) -> None:
        with lock, contextlib.suppress(OSError):
            server.send((kind, content))

    with contextlib.suppress(EOFError, OSError):
        team = Team(plan, lambda attackers: tell("attackers", attackers))
        while True:
            tell("idle", None)
            frames, chosen = server.recv()
            for device, picture in team.attack(frames, chosen):
                tell("picture", (device, picture))
