"""A sentence encoder between two processes: what a server reads of sentences, and what is left of their meaning.

    .venv/bin/python benchmarks/text.py all-MiniLM-L6-v2

The argument is a folder as Hugging Face lays it out, with `config.json`, `model.safetensors` and `tokenizer.json`. The
sentences are those of the data set ``documentation``. Of the encoder's own weights nothing is trained; a linear layer
behind its vectors says which package a sentence is of. The device's half runs in a process of its own, the server's in
another one, over both transports; the attackers have a fifth of the sentences, and read what arrived of others.

The first table is about each layer without a defense, the second about noise after one layer. Strengths are in standard
deviations of what is sent. The cosine compares the sentence vectors that the server computes from what arrives with
those of the whole model; here that is computed in one process, by the device's own pipeline and the server's half.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutlayer.attacks.answers.objective import seen_by_last_layer
from cutlayer.data.load import load
from cutlayer.defenses.base import deployed
from cutlayer.experiment.plan import parse
from cutlayer.experiment.run import run_all
from cutlayer.models.text_folder import tokenizer_of
from cutlayer.privacy.view import wire
from cutlayer.records.run import AttackRecord, Result
from cutlayer.report.kit.columns import columns
from cutlayer.split_folder import SplitFolder, open_split

LAYERS = 6
STRENGTHS, RELEASES = (0.5, 1.0, 2.0), (1, 4, 16)
READERS = ("token-ridge", "nearest-activation")
FLOORS = ("token-frequency", "permuted-pairs")
SENTENCES = 200
"""Sentences whose vectors are compared."""
Ids = NDArray[np.int64]


def plan(model: str, cut: str, options: argparse.Namespace, sigma: float = 0.0) -> dict[str, Any]:
    """The plan of one row of a table."""
    readers: list[dict[str, Any]] = [{"name": name} for name in READERS]
    if sigma:
        readers += [
            {"name": "averaging", "attack": name, "n_releases": n, "title": f"{name}, {n} releases"}
            for name in READERS
            for n in RELEASES[1:]
        ]
    noise = {"name": "gaussian-noise", "sigma": sigma}
    return {
        "data": "documentation",
        "model": model,
        "cut": cut,
        "training": {"epochs": 20},
        "measure": {"count": options.requests, "private": options.private},
        "deployment": [{"transport": transport, "head": "onnx"} for transport in ("zmq", "grpc")[: 1 if sigma else 2]],
        "defense": [noise if sigma else {"name": "none"}],
        "attack": readers + [{"name": name} for name in FLOORS[: 0 if sigma else None]],
    }


@dataclass(frozen=True)
class Row:
    """What one run shows.

    Attributes:
        result: Its record.
        cosine: Mean cosine of sentence vectors, behind the defense and of the whole model.
        deviation: Standard deviation of what is sent, around the mean of each number.
    """

    result: Result
    cosine: float
    deviation: float

    def by(self, attack: str, n_releases: int = 1) -> AttackRecord:
        """The record of an attack on the first deployment."""
        return next(
            record
            for record in self.result.privacy
            if record.n_releases == n_releases and attack in (record.attack, record.label.partition(",")[0])
        )

    def worst(self, n_releases: int = 1) -> AttackRecord:
        """That of the reader that reads most tokens of so many releases; of two that read as many, the faster one."""
        records = [self.by(name, n_releases) for name in READERS]
        return max(records, key=lambda one: (one.metrics["token-accuracy"].value, -one.fit_s - one.invert_s))


def row(model: str, cut: str, options: argparse.Namespace, ids: Ids, sigma: float = 0.0) -> Row:
    """Run one plan, or take what is there of it, and compare vectors."""
    experiments = parse(plan(model, cut, options, sigma))
    [result] = run_all(experiments, options.out, resume=True, data_root=None, say=print)
    split = open_split(options.out / result.id / "split")
    sent = split.halves().head(torch.from_numpy(ids)).detach()
    deviation = sent[sent.ne(0).any(2)].std(0).square().mean().sqrt().item()
    return Row(result, cosine(split, ids), deviation)


def cosine(split: SplitFolder, ids: Ids) -> float:
    """The mean cosine between the vectors of sentences behind the defense and without it."""
    halves, manifest = split.halves(), split.manifest
    arrived = wire(split.head(), deployed(split), "raw", [0, 2], manifest.length)(ids)
    with torch.inference_mode(), seen_by_last_layer(halves.tail) as seen:
        halves.tail(torch.from_numpy(arrived))
        halves.tail(halves.head(torch.from_numpy(ids)))
    behind, whole = seen
    return float(torch.nn.functional.cosine_similarity(behind, whole).mean())


def undefended(rows: Mapping[int, Row]) -> str:
    """The table of the layers."""
    head = ["LAYER", "TOKENS READ", "BY", "SENTENCES", *map(str.upper, FLOORS), "ATTACK", "ACCURACY", "SENT"]
    stages = ["HEAD", "NETWORK", "TAIL", "REQUEST"]
    lines = []
    for layer, row in rows.items():
        worst = row.worst()
        cells = [share(worst), worst.attack, share(worst, "exact"), *(share(row.by(name)) for name in FLOORS)]
        cells += [f"{worst.fit_s + worst.invert_s:.1f} s", f"{row.result.utility.accuracy.value:.1%}"]
        first = row.result.cost[0]
        cells += [f"{(first.sent_bytes or 0) / 1000:.1f} kB"]
        for stage in stages:
            each = [cost.end_to_end if stage == "REQUEST" else cost.stages[stage.lower()] for cost in row.result.cost]
            cells.append(" / ".join(f"{(one['p50'] or 0) / 1e6:.2f}" for one in each))
        lines.append([str(layer), *cells])
    return columns([*head, *(f"{stage}, MS" for stage in stages)], lines, rule=True)


def defended(layer: int, rows: Sequence[tuple[float, Row]]) -> str:
    """The table of the strengths of noise after one layer."""
    counts = ["1 RELEASE", *map(str, RELEASES[1:])]
    head = ["LAYER", "SD", "COSINE", "ACCURACY", *(f"READ FROM {n}" for n in counts), "ATTACK"]
    lines = []
    for strength, row in rows:
        cells = [str(layer), f"{strength:g}", f"{row.cosine:.2f}", f"{row.result.utility.accuracy.value:.1%}"]
        worst = [row.worst(n) for n in RELEASES if strength or n == 1]
        cells += [*map(share, worst), *["-"] * (len(RELEASES) - len(worst))]
        lines.append([*cells, f"{max(one.fit_s + one.invert_s for one in worst):.1f} s"])
    return columns(head, lines, rule=True)


def share(record: AttackRecord, metric: str = "token-accuracy") -> str:
    """A metric with its interval, in percent."""
    found = record.metrics[metric]
    return f"{found.value:.1%} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def main() -> None:
    """Print both tables; finished runs are not run again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="all-minilm-l6-v2", help="folder of the encoder")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-text"))
    parser.add_argument("--layers", type=int, nargs="+", default=range(1, LAYERS + 1))
    parser.add_argument("--noise-layers", type=int, nargs="*", default=[2])
    parser.add_argument("--private", type=int, default=300, help="sentences that are read")
    parser.add_argument("--requests", type=int, default=300)
    options = parser.parse_args()
    model = f"hf/{options.folder}"
    data = load("documentation", tokenizer=tokenizer_of(model))
    ids = data.test.inputs[:SENTENCES]
    rows = {
        layer: row(model, f"layer{layer}", options, ids) for layer in sorted({*options.layers, *options.noise_layers})
    }
    print(undefended({layer: rows[layer] for layer in options.layers}))
    print(
        f"n = {options.private} sentences; times are medians of {options.requests} requests over ZeroMQ / gRPC; "
        "intervals of 95 %."
    )
    for layer in options.noise_layers:
        noisy = [(0.0, rows[layer])]
        for strength in STRENGTHS:
            sigma = float(f"{strength * rows[layer].deviation:.3g}")
            noisy.append((strength, row(model, f"layer{layer}", options, ids, sigma)))
        print(defended(layer, noisy))


if __name__ == "__main__":
    main()
