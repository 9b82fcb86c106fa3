"""What the lengths of encrypted messages give away, over the real wire, and what padding would cost.

    .venv/bin/python benchmarks/traffic.py [--data-root DIR --weights resnet20.th] [--victims 300] [--candidates 1000]

A device sends private images, one by one and twice each, to a server in a process of its own, over gRPC with TLS and
over ZeroMQ with CURVE. Between the two, a relay notes how many bytes pass upwards before each answer: all that an
eavesdropper reads. The attacker's own client sends 300 images of its own through the same relay, from which it learns
how many bytes of traffic a tensor of so many bytes makes. It knows the candidates, and encodes them itself.

Printed for each codec: how often the message is that of the true one among the candidates (top-1 with a 95 % interval,
and top-10), against 1 of the candidates; how often the class is guessed rightly, by the 50 images of its own with the
nearest lengths, against the most frequent class; how well two messages of one input are told from two of others by
their lengths (area under the curve, 0.5 is a guess); and how far the learned mapping is off. Then the same where each
tensor is padded to the next multiple of so many bytes, or to the longest, and what that adds to the traffic.
"""

import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

import cutlayer
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import deployed
from cutlayer.deployment import processes
from cutlayer.metrics.identification import ranks, shares
from cutlayer.metrics.interval import exact_proportion
from cutlayer.privacy.view import lengths
from cutlayer.split_folder import SplitFolder
from cutlayer.wire.address import Address
from cutlayer.wire.certs import init
from cutlayer.wire.security import Security

CODECS = ("raw", "raw+zstd", "raw+shuffle+zstd", "int8", "int8+zstd", "top-k:0.25", "top-k:0.25+zstd")
OWN = 300
"""Images that the attacker's client sends, for the mapping from tensors to traffic."""
PADDINGS = (64, 256, 1024, 4096, 0)
"""Multiples in bytes to which tensors are padded; 0 for the longest of all."""

Lengths = NDArray[np.floating]


class Relay:
    """Forwards connections to one port, and notes the bytes that pass upwards between two answers."""

    def __init__(self, port: int) -> None:
        self._port, self._lock = port, threading.Lock()
        self.upwards = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def take(self) -> int:
        """The bytes since the last call."""
        with self._lock:
            passed, self.upwards = self.upwards, 0
        return passed

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target, up in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._forward, args=(source, target, up), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        try:
            while chunk := source.recv(1 << 16):
                if up:
                    with self._lock:
                        self.upwards += len(chunk)
                target.sendall(chunk)
        except OSError:
            pass
        finally:
            for end in (source, target):
                end.close()


class Wire(NamedTuple):
    """One way of encrypting: its name, scheme, and the files of server and device."""

    name: str
    scheme: str
    server: dict[str, str]
    device: dict[str, str]


WIRES = (
    Wire(
        "TLS", "grpc", {"ca": "ca.pem", "cert": "server.pem", "key": "server.key"},
        {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"},
    ),
    Wire(
        "CURVE", "zmq", {"curve_key": "curve-server.key", "allow": "clients"},
        {"curve_key": "curve-client.key", "curve_server": "curve-server.pub"},
    ),
)  # fmt: skip


@contextmanager
def served(split: SplitFolder, wire: Wire, keys: Path) -> Iterator[tuple[str, Relay, Security]]:
    """A server, and the relay in front of it: the address for a device, the relay, and the device's files."""
    words = [word for name, file in wire.server.items() for word in ("--" + name.replace("_", "-"), keys / file)]
    with processes.cloud(split.path, "--listen", f"{wire.scheme}://127.0.0.1:0", *words) as address:
        relay = Relay(Address.parse(address).port)
        device = Security.from_json({name: str(keys / file) for name, file in wire.device.items()})
        try:
            yield f"{wire.scheme}://127.0.0.1:{relay.port}", relay, device
        finally:
            relay.close()


def sent(
    split: SplitFolder, codec: str, address: str, relay: Relay, security: Security, images: NDArray[np.float32]
) -> tuple[Lengths, Lengths]:
    """The traffic of each image's message and the size of its tensor, ``(N,)`` each."""
    traffic, tensors = [], []
    with cutlayer.connect(split, address, codec=codec, security=security) as device:
        for image in images[:3]:
            device.infer(image[None])
        for image in images:
            relay.take()
            _, trace = device.infer(image[None])
            traffic.append(relay.take())
            tensors.append(trace.tensor_bytes)
    return np.array(traffic, float), np.array(tensors, float)


def mapping(traffic: Lengths, tensors: Lengths) -> NDArray[np.float64]:
    """A line from the traffic to the size of the tensor, through the median residual, as frames vary."""
    slope = np.polyfit(traffic, tensors, 1)[0] if np.ptp(tensors) > 0 else 0.0
    return np.array([slope, np.median(tensors - slope * traffic)])


def identified(arrived: Lengths, known: Lengths) -> tuple[str, str]:
    """Top-1 with its interval and top-10, in words: the i-th message is that of the i-th candidate."""
    scores = -(torch.from_numpy(arrived)[:, None] - torch.from_numpy(known)).square()
    true = torch.eye(len(arrived), len(known), dtype=torch.bool)
    found = ranks(scores, true)
    one, ten = (float(shares(*found, k).mean()) for k in (1, 10))
    interval = exact_proportion(round(one * len(arrived)), len(arrived))
    return f"{one:.1%} ({interval.low:.1%} to {interval.high:.1%})", f"{ten:.1%}"


def linked(first: Lengths, second: Lengths, rng: np.random.Generator) -> float:
    """The area under the curve by which two messages of one input are told from two of different ones."""
    others = second[(np.arange(len(second)) + rng.integers(1, len(second), len(second))) % len(second)]
    differences = np.concatenate([np.abs(first - second), np.abs(first - others)])
    return float(roc_auc_score(np.repeat([1, 0], len(first)), -differences))


def classes(
    known: Lengths, labels: NDArray[np.int64], arrived: Lengths, truth: NDArray[np.int64]
) -> tuple[float, float]:
    """The accuracy of the class by the nearest lengths, and of always the most frequent one."""
    guessed = KNeighborsClassifier(50).fit(known[:, None], labels).predict(arrived[:, None])
    return float((guessed == truth).mean()), float((truth == np.bincount(labels).argmax()).mean())


def report(title: str, split: SplitFolder, data: Splits, victims: int, candidates: int, keys: Path) -> None:
    """Print the table of one split."""
    rng = np.random.default_rng(0)
    private, own = data.private.take(candidates), data.auxiliary.take(4000)
    pool = private.inputs
    print(f"\n{title}: {split.manifest.smashed} numbers, {victims} victims among {len(pool):,} candidates, of which a")
    print(f"guess identifies {1 / len(pool):.2%}, and finds {10 / len(pool):.1%} among the first ten")
    print(
        f"{'wire':6} {'codec':18} {'bytes':>16} {'identified':>26} {'top 10':>7} {'class / guess':>15} {'linked':>7} "
        f"{'off by':>8}"
    )
    for codec in CODECS:
        sizes = lengths(split.head(), deployed(split), codec, [0])
        known, learned = sizes(pool)[:, 0].astype(float), sizes(own.inputs)[:, 0].astype(float)
        bytes_of = f"{known.min():,.0f} to {known.max():,.0f}"
        for wire in WIRES:
            with served(split, wire, keys) as place:
                line = mapping(*sent(split, codec, *place, own.inputs[:OWN]))
                rounds = [sent(split, codec, *place, pool[:victims]) for _ in range(2)]
            first, second = (np.polyval(line, traffic) for traffic, _ in rounds)
            off = float(np.abs(first - rounds[0][1]).max())
            top, ten = identified(first, known)
            right, blind = classes(learned, own.labels, first, private.labels[:victims])
            print(
                f"{wire.name:6} {codec:18} {bytes_of:>16} {top:>26} {ten:>7} {f'{right:.1%} / {blind:.1%}':>15} "
                f"{linked(first, second, rng):>7.3f} {off:>6.0f} B",
                flush=True,
            )
        if known.max() == known.min():
            continue
        for multiple in PADDINGS:
            padded = np.ceil(known / (multiple or known.max())) * (multiple or known.max())
            top, ten = identified(padded[:victims], padded)
            more = padded.mean() / known.mean() - 1
            name = f"padded to {multiple:,}" if multiple else "to the longest"
            print(f"{'':6} {name:18} {f'+{more:.1%} sent':>16} {top:>26} {ten:>7}", flush=True)


def main(
    victims: int = 300, candidates: int = 1000, data_root: Path | None = None, weights: Path | None = None,
    only: Sequence[str] = ("fashion-mnist", "cifar10"),
) -> None:  # fmt: skip
    """Measure both splits.

    Args:
        victims: Private images that are sent, twice each.
        candidates: Private images among which they are looked for.
        data_root: Folder of the data sets.
        weights: File of the weights of ResNet-20 for CIFAR-10; without it that victim is left out.
        only: Data sets of the victims.
    """
    with tempfile.TemporaryDirectory() as scratch:
        keys = Path(scratch) / "keys"
        init(keys, ["127.0.0.1"])
        for name, model, cut, file in (
            ("fashion-mnist", "he_lenet", "pool1", None), ("cifar10", "resnet20", "layer1.2", weights)
        ):  # fmt: skip
            if name not in only or (name == "cifar10" and weights is None):
                continue
            data = cutlayer.load_data(name, root=data_root)
            split = cutlayer.split(model, cut, data, Path(scratch) / name, weights=file, epochs=0 if file else 1)
            report(f"{name}, {model} at {cut}", split, data, victims, candidates, keys)


if __name__ == "__main__":
    torch.set_num_threads(1)
    tyro.cli(main)
