"""What it costs a server to reply with an answer defense, and to log its queries, beside the logits as they are.

    python benchmarks/answers.py [--samples 1] [--before FOLDER]

Each contender is a server in a process of its own that gets requests by function calls: what is timed is the path of a
request through reader, batcher, an empty tail and reply, in turns, by processor time. With --before, the first one is
the server of another working tree, which compares what is off with what was not there.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

CLASSES, SHAPE, REQUESTS = 10, (8, 14, 14), 1000
DEFENSES = ("label-only", "rounding", "top-scores", "temperature", "purifier", "adversarial-answers")


def main() -> None:
    """Compare and print."""
    from benchmarks.interleaved import compare

    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=1, help="samples in a request")
    parser.add_argument("--before", type=Path, help="folder of another working tree")
    asked = parser.parse_args()
    n = asked.samples
    contenders = {"before": partial(served, "", n, asked.before)} if asked.before else {}
    contenders |= {"logits": partial(served, "", n)} | {name: partial(served, name, n) for name in DEFENSES}
    print(f"{n} samples in a request, processor time per sample")
    compare(contenders | {"log of queries": partial(served, "log", n)}, rounds=11, clock=time.process_time)


def served(name: str, n: int, tree: Path | None = None) -> Callable[[], int]:
    """A function that makes requests of a server with this defense."""
    if tree is not None:
        sys.path.insert(0, str(tree))
    import numpy as np

    from cutlayer.cloud.service import Service
    from cutlayer.models.manifest import Manifest
    from cutlayer.spec import TensorSpec
    from cutlayer.wire.codecs.raw import Raw
    from cutlayer.wire.message import Inference, infer_request
    from cutlayer.wire.peer import Peer
    from cutlayer.wire.template import completed
    from cutlayer.wire.transport import Caller

    spec, rng = TensorSpec(SHAPE), np.random.default_rng(0)
    manifest = Manifest("bench", "cut", CLASSES, spec, spec, {"name": "none"}, None)
    logits, usual = rng.normal(size=(256, CLASSES)).astype(np.float32), rng.random((4000, *SHAPE), np.float32)
    options: dict[str, Any] = {}
    if name == "log":
        from cutlayer.cloud.query_log import QueryLog

        options = {"queries": QueryLog(usual)}
    elif name:
        options = {"answers": _answers(name, manifest)}
    service = Service(manifest, lambda smashed: logits[: len(smashed)], **options)
    request = Inference("bench@cut", "", "", {"smashed": Raw().encode(usual[:n])})
    template, data = infer_request(request), usual[:n].tobytes()
    peer = Peer(0, "a benchmark")

    def work() -> int:
        for number in range(REQUESTS):
            caller = Caller(peer, lambda: False, lambda reply, sent: sent())
            service.submit(completed(template, str(number), data), time.monotonic_ns(), caller, lend=True)
        return REQUESTS * n

    return work


def _answers(name: str, manifest: Any) -> Any:
    import torch
    from torch import nn

    from cutlayer.cloud.answers import Answers
    from cutlayer.data.splits import Dataset
    from cutlayer.registry import ANSWER_DEFENSES

    defense = ANSWER_DEFENSES.make(name)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)).eval()
    images = torch.rand(500, 1, 8, 8, generator=torch.Generator().manual_seed(0)).numpy()
    labels = torch.arange(500).numpy() % CLASSES
    defense.learn(model, Dataset(images, labels), 0)
    return Answers(defense, manifest, name)


if __name__ == "__main__":
    main()
