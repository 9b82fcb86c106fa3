"""Who holds what: the samples of a data set divided among clients, disjoint and complete.

Laws: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS 2017,
https://arxiv.org/abs/1602.05629 (shards); Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for
Federated Visual Classification", 2019, https://arxiv.org/abs/1909.06335 (Dirichlet); Li et al., "Federated Learning on
Non-IID Data Silos", ICDE 2022, https://arxiv.org/abs/2102.02079 (classes, quantity, noise of features).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError, DataError, near
from cutlayer.options import Count, Whole, Within

DRAWS = 1_000
"""A law is drawn anew so many times at most, until each client holds enough."""

Indices = list[NDArray[np.intp]]


@dataclass(frozen=True)
class Partition:
    """How the training samples are divided among the clients.

    Attributes:
        name: The law: iid, dirichlet, classes, shards, quantity or natural.
        alpha: With dirichlet, how even the shares of a class are; 0.1 is very uneven, 100 nearly even.
        classes: With classes, the number of classes that each client holds.
        shards: With shards, the number of shards of one class, or of few, that each client holds.
        beta: With quantity, how even the numbers of samples are.
        least: The least number of samples of a client; a law that draws is drawn anew until each has as many.
        sigma: Standard deviation of the noise on the inputs of the last client, in the units of the inputs; client k
            of K has k/K of it, with any law.
    """

    name: str = "iid"
    alpha: Annotated[float, Within(0, 1e6, above=True)] = 0.5
    classes: Count = 2
    shards: Count = 2
    beta: Annotated[float, Within(0, 1e6, above=True)] = 0.5
    least: Annotated[Whole, Within(1, 1_000_000)] = 10
    sigma: Annotated[float, Within(0, 1000)] = 0.0

    @property
    def label(self) -> str:
        """Name and option: ``dirichlet 0.1``."""
        option = {"dirichlet": self.alpha, "classes": self.classes, "shards": self.shards, "quantity": self.beta}
        stated = f" {option[self.name]:g}" if self.name in option else ""
        return f"{self.name}{stated}" + (f", feature noise {self.sigma:g}" if self.sigma else "")


IID = Partition()


def partition(
    labels: NDArray[np.int64],
    law: Partition,
    clients: int,
    rng: np.random.Generator,
    groups: NDArray[np.int64] | None = None,
) -> Indices:
    """Divide samples among clients.

    Args:
        labels: ``(N,)``, the class of each sample.
        law: The law and its options.
        clients: Number of clients.
        rng: Source of every draw.
        groups: ``(N,)``, the person or device of each sample, for the law natural.

    Returns:
        For each client the positions of its samples in ascending order: each position is in exactly one of them.

    Raises:
        ConfigError: There is no such law, or it leaves a client without enough samples.
    """
    if law.name not in LAWS:
        raise ConfigError(f"There is no partition named {law.name!r:.80}; {near(law.name, LAWS)}")
    if len(labels) < clients * law.least:
        raise ConfigError(
            f"{len(labels):,} samples cannot give {clients} clients {law.least:,} each; state fewer clients, more "
            "samples, or a smaller partition.least."
        )
    drawn: Indices = []
    for _ in range(DRAWS):
        drawn = [np.sort(part) for part in LAWS[law.name](labels, law, clients, rng, groups)]
        if min(map(len, drawn)) >= law.least:
            return drawn
    few = min(range(clients), key=lambda k: len(drawn[k]))
    raise ConfigError(
        f"The partition {law.label} leaves a client with fewer than {law.least:,} samples in each of {DRAWS:,} draws; "
        f"in the last one client {few + 1} has {len(drawn[few]):,}. State fewer clients, a law that is more even, or a "
        "smaller partition.least."
    )


def iid(labels: NDArray[np.int64], law: Partition, clients: int, rng: np.random.Generator, _: object) -> Indices:
    """Shuffle, and divide evenly."""
    return np.array_split(rng.permutation(len(labels)), clients)


def dirichlet(labels: NDArray[np.int64], law: Partition, clients: int, rng: np.random.Generator, _: object) -> Indices:
    """Each class is divided in shares from a symmetric Dirichlet distribution."""
    parts: list[list[NDArray[np.intp]]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(clients, law.alpha))
        for part, samples in zip(parts, np.split(own, _edges(shares, len(own))), strict=True):
            part.append(samples)
    return [np.concatenate(part) for part in parts]


def classes(labels: NDArray[np.int64], law: Partition, clients: int, rng: np.random.Generator, _: object) -> Indices:
    """Each client holds samples of so many classes, and those who hold a class share it equally."""
    names = np.unique(labels)
    if not law.classes <= len(names) <= clients * law.classes:
        raise ConfigError(
            f"{clients} clients with {law.classes} classes each cannot hold all {len(names)} classes of the data; "
            f"partition.classes must be {-(-len(names) // clients)} to {len(names)}."
        )
    holders: dict[int, list[int]] = {int(name): [] for name in names}
    for client in range(clients):
        # The classes with the fewest holders come first, in random order among equals.
        order = sorted(rng.permutation(names).tolist(), key=lambda name: len(holders[name]))
        for name in order[: law.classes]:
            holders[name].append(client)
    parts: list[list[NDArray[np.intp]]] = [[] for _ in range(clients)]
    for name, those in holders.items():
        shares = np.array_split(rng.permutation(np.flatnonzero(labels == name)), len(those))
        for client, samples in zip(those, shares, strict=True):
            parts[client].append(samples)
    return [np.concatenate(part) for part in parts]


def shards(labels: NDArray[np.int64], law: Partition, clients: int, rng: np.random.Generator, _: object) -> Indices:
    """Samples sorted by class are cut into equal shards, of which each client gets so many."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    cut = np.array_split(order, clients * law.shards)
    dealt = rng.permutation(len(cut)).reshape(clients, law.shards)
    return [np.concatenate([cut[shard] for shard in own]) for own in dealt]


def quantity(labels: NDArray[np.int64], law: Partition, clients: int, rng: np.random.Generator, _: object) -> Indices:
    """The numbers of samples follow a symmetric Dirichlet distribution, and the classes are mixed evenly."""
    shares = rng.dirichlet(np.full(clients, law.beta))
    return np.split(rng.permutation(len(labels)), _edges(shares, len(labels)))


def natural(
    labels: NDArray[np.int64],
    law: Partition,
    clients: int,
    rng: np.random.Generator,
    groups: NDArray[np.int64] | None,
) -> Indices:
    """The samples of one person or device stay together; with more of them than clients, each client gets several."""
    if groups is None:
        raise ConfigError(
            "The partition natural needs data that say which person or device a sample is of, such as lfw or "
            "att-faces; use another law for these."
        )
    names = rng.permutation(np.unique(groups))
    if len(names) < clients:
        raise ConfigError(
            f"The data are of {len(names)} persons or devices, too few for {clients} clients; state {len(names)} at "
            "most."
        )
    return [np.flatnonzero(np.isin(groups, own)) for own in np.array_split(names, clients)]


LAWS: Mapping[str, Callable[..., Indices]] = {
    "iid": iid,
    "dirichlet": dirichlet,
    "classes": classes,
    "shards": shards,
    "quantity": quantity,
    "natural": natural,
}
"""The laws by name."""


def _edges(shares: NDArray[np.float64], n: int) -> NDArray[np.intp]:
    """Where to cut n samples into these shares, which sum to 1."""
    return (np.cumsum(shares)[:-1] * n).astype(np.intp).clip(0, n)


def with_noise(
    inputs: NDArray[np.float32], law: Partition, client: int, clients: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The inputs of a client, 1 to `clients`, with the noise that its devices add; they stay within [0, 1]."""
    if not law.sigma:
        return inputs
    noise = rng.standard_normal(inputs.shape, dtype=np.float32) * np.float32(law.sigma * client / clients)
    return np.clip(inputs + noise, 0, 1)


def histogram(labels: NDArray[np.int64], indices: Sequence[NDArray[np.intp]], n_classes: int) -> NDArray[np.int64]:
    """``(clients, n_classes)``: the number of samples of each class that each client holds."""
    return np.stack([np.bincount(labels[part], minlength=n_classes) for part in indices])


def digest(indices: Sequence[NDArray[np.intp]]) -> str:
    """12 hex digits over who holds what."""
    sha = hashlib.sha256()
    for part in indices:
        sha.update(len(part).to_bytes(8, "little"))
        sha.update(part.astype("<i8").tobytes())
    return sha.hexdigest()[:12]


def check_complete(indices: Sequence[NDArray[np.intp]], n: int) -> None:
    """Refuse indices that are not a partition of n samples.

    Raises:
        DataError: A sample belongs to two clients or to none.
    """
    together = np.sort(np.concatenate(indices)) if indices else np.empty(0, np.intp)
    if len(together) != n or (together != np.arange(n)).any():
        raise DataError(
            f"The partition is damaged: it holds {len(together):,} positions, {len(np.unique(together)):,} of them "
            f"different, of {n:,} samples; delete it, so that it is made again."
        )
