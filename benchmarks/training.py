"""What training over a wire costs: speed beside the model in one piece and the peers' ways, bytes, accuracy, memory.

    .venv/bin/python benchmarks/training.py [--parts speed,link,codecs,clients] [--data mnist]

speed    Samples per second of vanilla split training over loopback, against the same model in one process. Each process
         has one thread, and of a client and a server one computes at a time, as the step of one model is one chain.
         All contenders run in turns. Adam, whose state is kept.
link     The time of a round over an emulated link with batches in 1, 2, 4 and 8 pieces, and the accuracy after it.
codecs   Bytes of an epoch with each codec of smashed data and gradients, and the accuracy after training with it.
clients  Resident memory of the server and samples per second of all, with 10 and 50 client processes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro

from benchmarks.training_ways import PEERS, TASKS, Task, head_step, tail_step, whole_step
from cutlayer.cloud.training.coordinator import Coordinator
from cutlayer.cloud.training.service import TrainingService
from cutlayer.data.splits import Dataset
from cutlayer.edge.training.client import Client, run
from cutlayer.edge.training.session import Session
from cutlayer.machine.compute import tune_allocator
from cutlayer.machine.footprint import peak_rss_bytes
from cutlayer.network.profiles import Network
from cutlayer.network.shaper import shaped
from cutlayer.protocols.events import Event, Listener
from cutlayer.protocols.plan import TrainingPlan, parse
from cutlayer.protocols.setup import prepare, untrained
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.transport import Timeouts

SPAWN = multiprocessing.get_context("spawn")
TURNS = 4
STEPS = {"vgg11_bn": 3, "lenet": 100}
"""Steps of one turn."""

LINK = Network("50 Mbit/s, round trip of 20 ms", 50e6, 50e6, 0.01)
SLOW = Timeouts(request_s=300)


def planned(table: dict[str, Any]) -> TrainingPlan:
    """A plan with what all parts of this benchmark have in common."""
    return parse({"data": "digits", "protocol": "vanilla", "clients": 1, "checkpoint_rounds": 0, **table})


def speed_plan(task: Task) -> TrainingPlan:
    """A plan whose rounds are the turns of the comparison."""
    rounds = TURNS + 1
    return planned(
        {"model": task.model, "cut": task.cut, "batch": task.batch, "rounds": rounds, "evaluate_rounds": rounds}
    )


def drawn(task: Task, n: int) -> Dataset:
    """Random images and labels."""
    rng = np.random.default_rng(0)
    return Dataset(rng.random((n, *task.input.shape), np.float32), rng.integers(0, 10, n))


def settle() -> None:
    """What every process does first: one thread, and an allocator that keeps its memory."""
    torch.set_num_threads(1)
    tune_allocator()


def noting(measured: list[tuple[int, float]]) -> Listener:
    """A listener that notes the round and the accuracy of each measurement."""

    def note(event: Event) -> None:
        if event.name == "measured":
            measured.append((event.round, float(event.what["correct"].sum() / event.what["total"].sum())))

    return note


def serve_ours(parent: Connection, plan: TrainingPlan, scheme: str, task: Task | None, root: Path | None) -> None:
    """A server of a plan, in its process; it ends with the message of its parent, and says its memory."""
    settle()
    measured: list[tuple[int, float]] = []
    if task is None:
        setup = prepare(plan, root)
        coordinator = Coordinator(plan, setup.model(), setup.input, len(setup.classes), on=noting(measured))
    else:
        coordinator = Coordinator(plan, untrained(plan, task.input, 10), task.input, 10)
    service = TrainingService(lambda: coordinator)
    server = listen(f"{scheme}://127.0.0.1:0", service, SLOW)
    parent.send(str(server.address))
    parent.recv()
    parent.send((peak_rss_bytes(), coordinator.traffic, measured))
    server.close()
    service.drain()


def train_ours(parent: Connection, plan: TrainingPlan, address: str, task: Task) -> None:
    """A client whose rounds are turns."""
    settle()
    model = untrained(plan, task.input, 10)
    data = drawn(task, STEPS[task.model] * task.batch)
    with contextlib.closing(connect(address, SLOW)) as transport, contextlib.closing(Session(transport)) as session:
        client = Client(plan, 1, model, task.input, 10, data, drawn(task, 1), session)
        client.open()
        for number in range(1, TURNS + 2):
            parent.recv()
            started = time.perf_counter()
            client.round(number)
            parent.send(time.perf_counter() - started)


def serve_peer(parent: Connection, task: Task, name: str) -> None:
    """A peer's server, in its process."""
    settle()
    parent.send(PEERS[name][0](tail_step(task)))
    parent.recv()


def train_plainly(parent: Connection, task: Task, name: str, port: int) -> None:
    """The model in one piece, or the client of a peer's server."""
    settle()
    step = head_step(task, PEERS[name][1](port)) if name else whole_step(task)
    data = drawn(task, STEPS[task.model] * task.batch)
    images, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    for _ in range(TURNS + 1):
        parent.recv()
        started = time.perf_counter()
        for index in torch.randperm(len(labels)).split(task.batch):
            step(images[index], labels[index])
        parent.send(time.perf_counter() - started)


class Running(NamedTuple):
    """A process and the connection to it."""

    end: Connection
    pid: int

    def cpu_s(self) -> float:
        """Seconds of processor time that its threads have had."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


@contextlib.contextmanager
def started(target: Callable[..., None], *arguments: Any) -> Iterator[Running]:
    """A process that ends with the context."""
    end, child = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(child, *arguments), daemon=True)
    process.start()
    try:
        assert process.pid is not None
        yield Running(end, process.pid)
    finally:
        process.terminate()
        process.join()


def speed(name: str) -> None:
    """Print samples per second and the time added to a step by each way."""
    task = TASKS[name]
    seconds: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        ways = {"one process": [stack.enter_context(started(train_plainly, task, "", 0))]}
        for scheme in ("zmq", "grpc"):
            plan = speed_plan(task)
            server = stack.enter_context(started(serve_ours, plan, scheme, task, None))
            client = stack.enter_context(started(train_ours, plan, server.end.recv(), task))
            ways[f"cutlayer over {scheme}"] = [client, server]
        for peer in PEERS:
            server = stack.enter_context(started(serve_peer, task, peer))
            client = stack.enter_context(started(train_plainly, task, peer, server.end.recv()))
            ways[peer] = [client, server]
        for turn in range(TURNS + 1):
            for way, processes in ways.items():
                before = sum(process.cpu_s() for process in processes)
                processes[0].end.send("go")
                took = processes[0].end.recv()
                if turn:
                    seconds.setdefault(way, []).append(1e3 * took / STEPS[name])
                    used = sum(process.cpu_s() for process in processes) - before
                    busy.setdefault(way, []).append(1e3 * used / STEPS[name])
    print(
        f"\n{name}, cut at {task.cut}, batch {task.batch}, {TURNS} turns of {STEPS[name]} steps each; CPU of both sides"
    )
    print(f"{'':28}{'ms/step':>10}{'least':>9}{'samples/s':>11}{'of one':>8}{'added ms':>10}{'CPU ms':>9}{'added':>8}")
    plain, alone = seconds["one process"], busy["one process"]
    for way, values in seconds.items():
        median, least = statistics.median(values), min(values)
        share = statistics.median(a / b for a, b in zip(plain, values, strict=True))
        added = statistics.median(b - a for a, b in zip(plain, values, strict=True))
        cpu = statistics.median(busy[way])
        more = statistics.median(b - a for a, b in zip(alone, busy[way], strict=True))
        figures = f"{median:10.2f}{least:9.2f}{1e3 * task.batch / median:11.1f}{share:8.0%}{added:10.2f}"
        print(f"{way:28}{figures}{cpu:9.2f}{more:8.2f}", flush=True)


def train(plan: TrainingPlan, scheme: str, root: Path | None, network: Network | None) -> tuple[float, int, Any, Any]:
    """Train a plan; return the seconds of the rounds, the server's memory, the bytes, and the accuracies."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(started(serve_ours, plan, scheme, None, root))
        address = server.end.recv()
        if network is not None:
            address, _ = stack.enter_context(shaped(address, network))
        clients = [
            stack.enter_context(started(train_whole, plan, k, address, root)) for k in range(1, plan.clients + 1)
        ]
        for client in clients:
            client.end.recv()
        begun = time.perf_counter()
        for client in clients:
            client.end.send("go")
        for client in clients:
            client.end.recv()
        took = time.perf_counter() - begun
        server.end.send("end")
        memory, traffic, measured = server.end.recv()
    return took, memory, traffic, measured


def train_whole(parent: Connection, plan: TrainingPlan, number: int, address: str, root: Path | None) -> None:
    """A client that trains to the end of the plan."""
    settle()
    setup = prepare(plan, root)
    with contextlib.closing(connect(address, SLOW)) as transport, contextlib.closing(Session(transport)) as session:
        data = setup.samples(number)
        client = Client(plan, number, setup.model(), setup.input, len(setup.classes), data, setup.test, session)
        parent.send("ready")
        parent.recv()
        run(client)
        parent.send("done")


def train_here(plan: TrainingPlan, root: Path | None) -> tuple[dict[Any, int], float]:
    """Train a plan of one client in this process, through the same bytes; return the bytes and the accuracy."""
    setup, measured = prepare(plan, root), list[tuple[int, float]]()
    coordinator = Coordinator(plan, setup.model(), setup.input, len(setup.classes), on=noting(measured))
    service = TrainingService(lambda: coordinator)
    server = listen("inprocess://bench-train", service)
    with contextlib.ExitStack() as stack:
        transport = stack.enter_context(contextlib.closing(connect("inprocess://bench-train")))
        session = stack.enter_context(contextlib.closing(Session(transport)))
        data, classes = setup.samples(1), len(setup.classes)
        run(Client(plan, 1, setup.model(), setup.input, classes, data, setup.test, session))
    server.close()
    service.drain()
    return coordinator.traffic, measured[-1][1]


def link(data: str, root: Path | None) -> None:
    """Print what it gains to send a batch in pieces over a slow link."""
    print(f"\nlenet, cut at conv2, batch 128, one client, over zmq, {LINK.name} (emulated), 2 epochs of 1,000 samples")
    print(f"{'pieces':>8}{'s':>10}{'gain':>8}{'accuracy':>10}")
    first = 0.0
    for pieces in (1, 2, 4, 8):
        table = {"data": data, "model": "lenet", "cut": "conv2", "batch": 128, "rounds": 2, "evaluate_rounds": 2}
        plan = planned({**table, "samples": 1000, "test": 500, "micro_batches": pieces})
        took, _, _, measured = train(plan, "zmq", root, LINK)
        first = first or took
        print(f"{pieces:8}{took:10.2f}{first / took:7.2f}x{measured[-1][1]:10.3f}", flush=True)


def codecs(data: str, root: Path | None) -> None:
    """Print the bytes of an epoch with each codec, and the accuracy after training with it."""
    print(f"\nlenet_bn on {data}, cut at pool1, vanilla, one client, batch 32, 4 epochs of 1,500 samples, 3 seeds")
    print(f"{'smashed':>10}{'gradient':>10}{'MB up':>9}{'MB down':>9}{'accuracy, mean (least to greatest)':>38}")
    for smashed, gradient in (("raw", "raw"), ("fp16", "fp16"), ("int8", "fp16"), ("int8", "int8"), ("int4", "int8")):
        accuracies, traffic, epochs = [], dict[Any, int](), 4
        for seed in range(3):
            table = {"data": data, "model": "lenet_bn", "cut": "pool1", "batch": 32, "rounds": epochs, "seed": seed}
            codec = {"smashed": smashed, "gradient": gradient}
            plan = planned({**table, "samples": 1500, "test": 500, "evaluate_rounds": epochs, "codec": codec})
            traffic, accuracy = train_here(plan, root)
            accuracies.append(accuracy)
        up, down = (
            traffic[way, "step", name] / epochs / 1e6 for way, name in (("up", "smashed"), ("down", "gradient"))
        )
        spread = f"{statistics.mean(accuracies):.3f} ({min(accuracies):.3f} to {max(accuracies):.3f})"
        print(f"{smashed:>10}{gradient:>10}{up:9.2f}{down:9.2f}{spread:>38}", flush=True)


def many(data: str, root: Path | None) -> None:
    """Print what many client processes cost the server."""
    print(f"\nlenet on {data}, cut at pool1, batch 32, 30 samples for each client, 3 rounds, over zmq")
    print(f"{'clients':>8}{'protocol':>14}{'server MB':>11}{'samples/s':>11}")
    for clients, protocol in ((10, "splitfed-v1"), (10, "splitfed-v2"), (50, "splitfed-v1")):
        table = {"data": data, "model": "lenet", "cut": "pool1", "clients": clients, "protocol": protocol}
        plan = planned({**table, "rounds": 3, "evaluate_rounds": 3, "samples": 30 * clients, "test": 100})
        took, memory, _, _ = train(plan, "zmq", root, None)
        print(f"{clients:8}{protocol:>14}{memory / 1e6:11.0f}{3 * 30 * clients / took:11.1f}", flush=True)


def main(
    parts: str = "speed,link,codecs,clients",
    data: str = "digits",
    data_root: Path | None = None,
    models: str = "lenet,vgg11_bn",
) -> None:
    """Measure.

    Args:
        parts: The parts to run, of speed, link, codecs and clients.
        data: Data set of the parts with an accuracy.
        data_root: Folder of the data sets that are not embedded.
        models: The models of the part speed.
    """
    for part in parts.split(","):
        if part == "speed":
            for name in models.split(","):
                speed(name)
        else:
            {"link": link, "codecs": codecs, "clients": many}[part](data, data_root)


if __name__ == "__main__":
    tyro.cli(main)
