"""A victim behind a cloud of its own: deployed as a split folder, and asked as every client asks it.

    answer(tail(decode(encode(protect(head(x))))))

What protects the answers acts in the server, what protects smashed data and the codec act in the client.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax

from cutlayer.attacks.answers.view import BATCH
from cutlayer.cloud.admission import Limits
from cutlayer.cloud.answers import Answers
from cutlayer.cloud.query_log import QueryLog
from cutlayer.cloud.service import Service
from cutlayer.defenses.answers.base import UNTOLD
from cutlayer.defenses.answers.learned import save as save_learned
from cutlayer.defenses.base import Defense, deployed
from cutlayer.deployment import processes
from cutlayer.edge.client import Edge
from cutlayer.edge.inputs import contract
from cutlayer.edge.pipeline import Pipeline
from cutlayer.experiment.class_victim import ClassVictim
from cutlayer.experiment.victim import whole
from cutlayer.machine.lock import only_one
from cutlayer.models import folder
from cutlayer.models.halves import SplitModel
from cutlayer.models.kept import Say
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import SplitFolder, open_split
from cutlayer.tables import UNDEFENDED, toml_value
from cutlayer.wire.codecs.packed import codec_named
from cutlayer.wire.connect import connect, listen

IN_PROCESS = "inprocess"
"""The transport with which the server is in this process; its answers are the same, bit for bit."""

Ask = Callable[[Tensor], Tensor]
"""At most `BATCH` inputs, or samples of smashed data, to log-probabilities ``(N, classes)``."""


def deploy(victim: ClassVictim, halves: SplitModel, say: Say) -> SplitFolder:
    """The split folder of a victim, below `runs/models/`, from where equal victims take it.

    Victims that differ in what protects their smashed data alone share one export.
    """
    digest = hashlib.sha256(repr((victim.experiment.model, halves.cut, victim.classes)).encode())
    for half in (halves.head, halves.tail):
        digest.update(str(getattr(half, "code", "")).encode())
        for name, tensor in half.state_dict().items():
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    exported = victim.runs / "models" / f"class-{digest.hexdigest()[:12]}-split"
    save = partial(
        folder.save, split=halves, model=victim.experiment.model, classes=victim.classes, data=victim.data.name,
        weights=False,
    )  # fmt: skip
    with only_one(exported.with_name(f"{exported.name}.export"), say=say):
        if not whole(exported, say):
            say(f"cut at {halves.cut}, smashed {halves.smashed}; exporting head and tail")
            save(exported, defense={"name": UNDEFENDED.name})
        path, learned = exported, victim.cut_defense.learned
        if victim.described["name"] != UNDEFENDED.name:
            digest.update(repr(victim.described).encode())
            for name, array in learned.items():
                digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
            path = victim.runs / "models" / f"class-{digest.hexdigest()[:12]}-split"
            if not whole(path, say):
                save(path, defense=victim.described, learned=learned, exported=exported)
    return replace(open_split(path), in_memory=halves)


@contextmanager
def clients(
    victim: ClassVictim, split: SplitFolder, *, transport: str, codec: str, seed: int, queries: QueryLog | None = None
) -> Iterator[tuple[Ask, Ask]]:
    """Run the victim's cloud, and give the ways to ask it: about inputs, and about smashed data of one's own making.

    Args:
        victim: The victim.
        split: Its split folder.
        transport: zmq or grpc, with a process for the cloud; or `IN_PROCESS`.
        codec: Name of the codec on the wire.
        seed: Seed of what protects smashed data, and with `IN_PROCESS` of what protects answers.
        queries: With `IN_PROCESS`, the log of what is asked.

    Raises:
        Unreachable: The cloud did not get ready.
    """
    manifest, chosen = split.manifest, codec_named(codec)
    with ExitStack() as opened:
        if transport == IN_PROCESS:
            address = opened.enter_context(_served(victim, split, seed, queries))
        else:
            words = opened.enter_context(_words(victim, transport))
            address = opened.enter_context(processes.cloud(split.path, *words, codecs=[codec]))
        line = opened.enter_context(closing(connect(address)))
        device = Edge(manifest, Pipeline(split.head(), deployed(split), chosen, manifest.length), line)
        sender = Edge(manifest, Pipeline(lambda smashed: smashed, Defense(), chosen), line)
        # Who makes smashed data itself keeps to no range.
        sender.checked = contract(replace(manifest, input=TensorSpec(manifest.smashed.shape, manifest.smashed.dtype)))
        rng, told = np.random.default_rng([seed, 3]), victim.defense.answers

        def asking(edge: Edge) -> Ask:
            def ask(samples: Tensor) -> Tensor:
                given: NDArray[np.float32] = samples.detach().cpu().contiguous().numpy()
                reply = torch.tensor(edge.infer(given, rng=rng)[0])
                return (reply if told else log_softmax(reply, 1)).clamp(min=UNTOLD).to(samples.device)

            return ask

        yield asking(device), asking(sender)


@contextmanager
def _served(victim: ClassVictim, split: SplitFolder, seed: int, queries: QueryLog | None) -> Iterator[str]:
    answers = None
    if victim.defense.answers:
        rng = np.random.default_rng([seed, 4])
        answers = Answers(victim.defense, split.manifest, victim.answers.label, rng)
    limits, tail = Limits(max_batch=BATCH), split.tail(threads=1)
    service = Service(split.manifest, tail, limits=limits, answers=answers, queries=queries)
    address = f"{IN_PROCESS}://{secrets.token_hex(8)}"
    try:
        with closing(listen(address, service)):
            yield address
    finally:
        service.drain()


@contextmanager
def _words(victim: ClassVictim, transport: str) -> Iterator[list[object]]:
    words: list[object] = ["--listen", f"{transport}://127.0.0.1:0", "--threads", 1, "--max-batch", BATCH]
    if not victim.defense.answers:
        yield words
        return
    words += ["--answers", victim.answers.name]
    for key, value in victim.answers.options.items():
        words += ["--set", f"{key}={toml_value(value)}"]
    with tempfile.TemporaryDirectory(prefix="cutlayer-") as scratch:
        if victim.defense.learned:
            save_learned(Path(scratch) / "learned", victim.defense)
            words += ["--learned", Path(scratch) / "learned"]
        yield words
