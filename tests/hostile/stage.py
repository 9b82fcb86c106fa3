"""A server, a victim and an attacker, each in a process of its own, over real sockets."""

from __future__ import annotations

import multiprocessing
import resource
import socket
import time
from collections import Counter
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from cutlayer.errors import WireError
from cutlayer.models.manifest import HEAD_ONNX, TAIL_ONNX, Manifest, sha256
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split
from cutlayer.wire import certs
from cutlayer.wire.address import Address
from cutlayer.wire.connect import connect
from cutlayer.wire.retry import Retry
from cutlayer.wire.security import PLAIN, Security
from cutlayer.wire.transport import Timeouts
from tests.cloud_process import CloudProcess
from tests.hostile.case import Attack, Case, cases
from tests.tiny_split import edge_at

PATIENCE = Timeouts(connect_s=10.0, request_s=20.0)
PAUSE_S = 0.005
"""Time between a victim's answer and its next request."""

LANES = {"grpc": "grpc", "grpc, mutual TLS": "grpc", "zmq": "zmq", "zmq, CURVE": "zmq"}
"""The transport of each way to reach a server."""


class Asked(NamedTuple):
    """What a victim has got.

    Attributes:
        right: Number of right answers.
        errors: Reasons of requests without one.
        times_s: Time of each request, with its retries.
    """

    right: int
    errors: list[str]
    times_s: list[float]

    @property
    def p95_ms(self) -> float:
        """The 95th percentile of the times, in milliseconds."""
        return 1e3 * float(np.quantile(self.times_s, 0.95))


class Survival(NamedTuple):
    """The result of a case on one lane.

    Attributes:
        outcomes: Number of the attacker's tries, by how they ended.
        alone: The victim before the attack.
        beside: The victim during the attack.
        resident_bytes: Memory of the server before the attack, at its end, and later.
    """

    outcomes: Counter[str]
    alone: Asked
    beside: Asked
    resident_bytes: tuple[int, int, int]


def two_keys(folder: Path) -> tuple[Path, Path]:
    """Write the files of a server and of two clients, a victim and an attacker; return the folder of each client."""
    victim, attacker = folder / "victim", folder / "attacker"
    for client in (victim, attacker):
        certs.init(client)
    authorities = [(client / "ca.pem").read_bytes() for client in (victim, attacker)]
    (victim / "both.pem").write_bytes(b"".join(authorities))
    (victim / "clients" / "attacker.pub").write_bytes((attacker / "clients" / "client.pub").read_bytes())
    return victim, attacker


def _security(lane: str, server: Path, client: Path) -> Security:
    """Return the files of a client whose keys are in one folder, and those of the server in another."""
    if lane.endswith("TLS"):
        return Security(ca=server / "ca.pem", cert=client / "client.pem", key=client / "client.key")
    if lane.endswith("CURVE"):
        return Security(curve_key=client / "curve-client.key", curve_server=server / "curve-server.pub")
    return PLAIN


def _options(lane: str, keys: Path) -> list[str]:
    """Return the options of `cutlayer cloud` on a lane."""
    if lane.endswith("TLS"):
        files = {"ca": "both.pem", "cert": "server.pem", "key": "server.key"}
    elif lane.endswith("CURVE"):
        files = {"curve-key": "curve-server.key", "allow": "clients"}
    else:
        return ["--insecure"]
    return [word for name, file in files.items() for word in (f"--{name}", str(keys / file))]


class Stage:
    """A server on one lane, and both peers. Use it in a `with`.

    In plain text the victim comes over IPv6 and the attacker over IPv4, so that their addresses differ, as those of two
    machines do. With keys, their keys differ, and their addresses only in a case with newcomers: who has no connection
    yet has shown no key.
    """

    def __init__(self, folder: Path, lane: str, keys: tuple[Path, Path], options: tuple[str, ...] = ()) -> None:
        self._folder, self._lane = folder, lane
        self._victim, self._attacker = (_security(lane, keys[0], client) for client in keys)
        here = "[::]" if _has_ipv6() else "127.0.0.1"
        self._cloud = CloudProcess(folder, f"{LANES[lane]}://{here}:0", options=(*_options(lane, keys[0]), *options))

    def __enter__(self) -> Stage:
        self._cloud.__enter__()
        address = Address.parse(self._cloud.address)
        self._server = psutil.Process(self._cloud.pid)
        attacker = "127.0.0.1"
        self._victims = [
            str(Address(address.scheme, host, address.port))
            for host in (attacker, "::1" if address.host == "::" else attacker)
        ]
        context = multiprocessing.get_context("spawn")
        self._attacking, there = context.Pipe()
        target = (str(Address(address.scheme, attacker, address.port)), self._folder, self._attacker.to_json())
        self._process = context.Process(target=_attack, args=(there, *target), daemon=True)
        self._process.start()
        self._asked = 0
        self._connect(elsewhere=self._lane == LANES[self._lane])
        shape = open_split(self._folder).manifest.input.shape
        self._image = np.random.default_rng(0).random((1, *shape), np.float32)
        self._expected = open_split(self._folder).model()(self._image)
        self._attacking.recv()
        return self

    def _connect(self, elsewhere: bool) -> None:
        address = self._victims[elsewhere]
        self._client = connect(address, PATIENCE, retry=Retry(100), security=self._victim)
        self._edge = edge_at(self._folder, self._client, timeouts=PATIENCE)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._client.close()
        self._cloud.__exit__()

    def survive(self, case: Case, seconds: float) -> Survival:
        """Ask alone, then beside the attack once it is under way, for some seconds each.

        Raises:
            AssertionError: The victim got a wrong answer, or the server has ended.
        """
        _, most = self._server.rlimit(psutil.RLIMIT_NOFILE)
        self._server.rlimit(psutil.RLIMIT_NOFILE, (case.descriptors or most, most))
        before = self._server.memory_info().rss
        alone = self.ask(seconds, case.newcomers)
        under_way_s = seconds / 10
        self._attacking.send((case.name, seconds + 2 * under_way_s))
        time.sleep(under_way_s)
        beside = self.ask(seconds, case.newcomers)
        during = self._server.memory_info().rss
        assert self._attacking.poll(60), "the attacker does not end"
        outcomes = self._attacking.recv()
        if isinstance(outcomes, str):
            raise AssertionError(outcomes)
        time.sleep(seconds / 5)
        return Survival(outcomes, alone, beside, (before, during, self._server.memory_info().rss))

    def ask(self, seconds: float, newcomers: bool = False) -> Asked:
        """Send one request after the other as the victim, each from a new connection if `newcomers`."""
        right, errors, times_s = 0, [], []
        until = time.monotonic() + seconds
        while time.monotonic() < until or not times_s:
            self._asked += 1
            start_s = time.perf_counter()
            try:
                if newcomers:
                    self._client.close()
                    self._connect(elsewhere=True)
                logits = self._edge.infer(self._image, self._asked)[0]
            except WireError as error:
                errors.append(f"{type(error).__name__}: {error}")
            else:
                np.testing.assert_allclose(logits, self._expected, rtol=1e-3, atol=1e-4)
                right += 1
            times_s.append(time.perf_counter() - start_s)
            time.sleep(PAUSE_S)
        return Asked(right, errors, times_s)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _attack(parent: Connection, address: str, folder: Path, security: dict[str, str | bool]) -> None:
    """Run the cases that the parent names; send the outcomes of each, or what failed in the attack itself."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    known = cases()
    parent.send("ready")
    while True:
        name, seconds = parent.recv()
        attack = Attack(Address.parse(address), folder, Security.from_json(security), seconds)
        try:
            with closing(attack):
                known[name].run(attack)
            parent.send(attack.outcomes)
        except Exception as error:
            parent.send(f"the attack itself failed: {error!r}")


def write_slow_split(folder: Path) -> None:
    """Write a split folder whose head does nothing, and whose tail takes about a millisecond for each sample."""
    import onnx
    from onnx import TensorProto, helper

    from benchmarks.wire_load import CLASSES, SMASHED, write_tail

    folder.mkdir()
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *SMASHED.shape]) for name in ("image", "smashed")
    ]
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["smashed"])], "head", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / HEAD_ONNX))
    write_tail(folder / TAIL_ONNX)
    files = {name: sha256(folder / name) for name in (HEAD_ONNX, TAIL_ONNX)}
    given = TensorSpec(SMASHED.shape, "float32", 0.0, 1.0)
    Manifest("slow", "relu", CLASSES, given, SMASHED, {"name": "none"}, None, files).save(folder)
