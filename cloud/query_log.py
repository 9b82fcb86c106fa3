"""The log of what each client asks, and a flag for one that asks what no device of the usual kind sends.

Who inverts a model by its answers asks about pictures that a search has made, or very often about one class. Smashed
data of usual inputs says how far apart usual queries lie; a client is flagged where too many of its own lie farther.
Inversion-guided defenses detect such clients by inverting their queries (Zhou et al. 2024); a distance is the cheap
relative of that.

    s <- max(0, s + log(P(far | made) / P(far | usual)))   for each query;   flagged at s > log(1 / ALARMS)

is Page's cumulative sum, "Continuous Inspection Schemes", Biometrika 1954: a client that sends usual inputs is flagged
by accident once in 1 / ALARMS queries at most, on average, as long as at most `USUAL_FAR` of them are far.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.bounded import map_array, reason
from cutlayer.errors import ConfigError
from cutlayer.models.manifest import Manifest
from cutlayer.tensors import parts

logger = logging.getLogger("cutlayer.cloud.query_log")

LEAST, MOST = 100, 2000
"""Usual samples that a log needs, and that it looks at."""
COMPONENTS = 32
"""Directions in which usual smashed data varies most. What is left of a sample counts by its length."""
QUANTILE = 0.99
"""Share of usual samples that are not far."""
USUAL_FAR, MADE_FAR = 0.05, 0.5
"""Share of far queries of a usual client, with room for another day's inputs, and of one whose queries are made."""
ALARMS = 1e-6
CLIENTS = 10_000
"""Clients that are remembered; of more, those silent longest are forgotten."""


@dataclass
class Client:
    """What one client has asked.

    Attributes:
        name: Its address when it was last heard.
        asked: Number of samples.
        far: Number of those that are far from usual ones.
        by_class: Number of samples by the class that was answered.
        flagged_after: Number of samples after which it was flagged; None where it was not.
        why: Why it was flagged.
    """

    name: str
    asked: int = 0
    far: int = 0
    by_class: Counter[int] = field(default_factory=Counter)
    flagged_after: int | None = None
    why: str = ""
    suspicion: float = field(default=0.0, repr=False)


class QueryLog:
    """Counts what clients ask. Any thread may use it.

    Args:
        usual: Smashed data of usual inputs, ``(N, *smashed.shape)``, as it arrives: behind what protects it and the
            codec. Half of it says how far the other half lies.
        most: Samples of one class after which a client is flagged as well; 0 for any number.

    Raises:
        ConfigError: There are too few samples, or some are not finite.
    """

    def __init__(self, usual: NDArray[Any], most: int = 0) -> None:
        if len(usual) < LEAST:
            raise ConfigError(f"A log of queries learns from {LEAST} usual samples at least; {len(usual)} were given.")
        chosen = np.linspace(0, len(usual) - 1, min(len(usual), 2 * MOST)).astype(int)
        flat = np.asarray(usual[chosen], np.float32).reshape(len(chosen), -1)
        if not np.isfinite(flat).all():
            raise ConfigError("The usual samples of a log of queries hold what is no finite number.")
        self._most, self._lock = most, threading.Lock()
        self._clients: OrderedDict[Hashable, Client] = OrderedDict()
        known, others = flat[::2], flat[1::2]
        self._mean = known.mean(0)
        self._axes = np.linalg.svd(known - self._mean, full_matrices=False)[2][:COMPONENTS].T.copy()
        self._known = self._placed(known)
        self._squares = np.square(self._known).sum(1)
        self._bound = float(np.quantile(self.distances(others), QUANTILE))

    def distances(self, smashed: NDArray[Any]) -> NDArray[np.float32]:
        """The squared distance of each sample from the nearest usual one, ``(N,)``; NaN where it is not finite."""
        with np.errstate(all="ignore"):
            placed = self._placed(np.asarray(smashed, np.float32).reshape(len(smashed), -1))
            apart = np.square(placed).sum(1)[:, None] + self._squares - 2 * placed @ self._known.T
            nearest: NDArray[np.float32] = apart.min(1)
        return nearest

    def see(self, party: Hashable, name: str, smashed: NDArray[Any], classes: NDArray[np.int64]) -> None:
        """Count the samples of a request that was answered.

        Args:
            party: Whose requests count together; see `cutlayer.wire.peer.Peer.party`.
            name: The client's address.
            smashed: ``(N, *smashed.shape)``, or joined with what came beside it.
            classes: ``(N,)``, the class that each answer means.
        """
        far = ~(self.distances(parts(smashed, "smashed")["smashed"]) <= self._bound)
        with self._lock:
            client = self._clients.setdefault(party, Client(name))
            self._clients.move_to_end(party)
            if len(self._clients) > CLIENTS:
                self._clients.popitem(last=False)
            client.name = name
            for is_far, label in zip(far.tolist(), classes.tolist(), strict=True):
                client.asked += 1
                client.far += is_far
                client.by_class[label] += 1
                step = log(MADE_FAR / USUAL_FAR) if is_far else log((1 - MADE_FAR) / (1 - USUAL_FAR))
                client.suspicion = max(0.0, client.suspicion + step)
                if client.flagged_after is None:
                    self._judge(client, label)

    def clients(self) -> list[Client]:
        """What each client has asked, the one heard last at the end."""
        with self._lock:
            return list(self._clients.values())

    @property
    def flagged(self) -> int:
        """Number of clients that are flagged."""
        return sum(client.flagged_after is not None for client in self.clients())

    def summary(self) -> str:
        """A line for each client that was flagged, or for all others together."""
        clients = self.clients()
        flagged = [client for client in clients if client.flagged_after is not None]
        lines = [f"{c.name} was flagged after {c.flagged_after:,} of {c.asked:,} samples: {c.why}" for c in flagged]
        asked, far = (sum(getattr(c, key) for c in clients if c.flagged_after is None) for key in ("asked", "far"))
        others = f"{len(clients) - len(flagged):,} clients not flagged: {asked:,} samples, {far:,} far from usual ones"
        return "\n".join([*lines, others])

    def _judge(self, client: Client, label: int) -> None:
        if client.suspicion > log(1 / ALARMS):
            client.why = (
                f"{client.far:,} of its samples lie farther from usual ones than {QUANTILE:.0%} of usual samples do"
            )
        elif self._most and client.by_class[label] > self._most:
            client.why = f"it has asked about class {label} more than {self._most:,} times"
        else:
            return
        client.flagged_after = client.asked
        logger.warning("%s is flagged after %s samples: %s", client.name, f"{client.asked:,}", client.why)

    def _placed(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coordinates of samples: along the axes, and the length of what the axes leave."""
        away = flat - self._mean
        along = away @ self._axes
        left = np.sqrt(np.maximum(np.square(away).sum(1) - np.square(along).sum(1), 0))
        return np.column_stack([along, left])


def query_log(path: Path, manifest: Manifest, most: int = 0) -> QueryLog:
    """A log whose usual samples are in a .npy file.

    Raises:
        ConfigError: The file cannot be read, or holds no smashed data of this split.
    """
    try:
        usual = map_array(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {reason(error)}.") from None
    if usual.shape[1:] != manifest.smashed.shape or usual.dtype.kind != "f":
        raise ConfigError(
            f"{path} holds {usual.dtype} of shape {'x'.join(map(str, usual.shape))}, and the smashed data of this "
            f"split is Nx{manifest.smashed}; store what the server receives for usual inputs."
        )
    return QueryLog(usual, most)
