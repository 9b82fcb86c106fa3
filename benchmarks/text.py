"""A sentence encoder between two processes: what a server reads of sentences, and what is left of their meaning.

    .venv/bin/python benchmarks/text.py all-MiniLM-L6-v2

The argument is a folder as Hugging Face lays it out, with `config.json`, `model.safetensors` and `tokenizer.json`. The
sentences are those of the data set ``documentation``. Nothing is trained: the server answers with the vector of a
sentence. The device's half runs in a process of its own, the server's in another one, over both transports; the
attackers have a fifth of the sentences, and read what arrived of others.

The first table is about each layer without a defense, the second about noise after one layer. Strengths are in standard
deviations of what is sent. The cosine is that of the record of a run: between the vectors that the server answers and
those of the whole model; beside it stands how often the nearest other sentence stays the same.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutlayer.data.load import load
from cutlayer.experiment.plan import parse
from cutlayer.experiment.run import run_all
from cutlayer.models.text_folder import tokenizer_of
from cutlayer.records.run import AttackRecord, Estimate, Result
from cutlayer.report.kit.columns import columns
from cutlayer.split_folder import open_split

LAYERS = 6
STRENGTHS, RELEASES = (0.5, 1.0, 2.0), (1, 4, 16)
READERS = ("token-ridge", "nearest-activation")
FLOORS = ("token-frequency", "permuted-pairs")
SENTENCES = 200
"""Sentences that tell the standard deviation of what is sent."""
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
        "training": {"epochs": 0},
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
        deviation: Standard deviation of what is sent, around the mean of each number.
    """

    result: Result
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
    """Run one plan, or take what is there of it."""
    experiments = parse(plan(model, cut, options, sigma))
    [result] = run_all(experiments, options.out, resume=True, data_root=None, say=print)
    split = open_split(options.out / result.id / "split")
    sent = split.halves().head(torch.from_numpy(ids)).detach()
    deviation = sent[sent.ne(0).any(2)].std(0).square().mean().sqrt().item()
    return Row(result, deviation)


def undefended(rows: Mapping[int, Row]) -> str:
    """The table of the layers."""
    head = ["LAYER", "TOKENS READ", "BY", "SENTENCES", *map(str.upper, FLOORS), "ATTACK", "SENT"]
    stages = ["HEAD", "NETWORK", "TAIL", "REQUEST"]
    lines = []
    for layer, row in rows.items():
        worst = row.worst()
        cells = [share(worst), worst.attack, share(worst, "exact"), *(share(row.by(name)) for name in FLOORS)]
        cells += [f"{worst.fit_s + worst.invert_s:.1f} s"]
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
    head = ["LAYER", "SD", "COSINE", "SAME NEAREST", *(f"READ FROM {n}" for n in counts), "ATTACK"]
    lines = []
    for strength, row in rows:
        of = row.result.utility
        cells = [str(layer), f"{strength:g}", interval(of.figure)]
        cells.append("-" if of.vectors is None or of.vectors.same_nearest is None else percent(of.vectors.same_nearest))
        worst = [row.worst(n) for n in RELEASES if strength or n == 1]
        cells += [*map(share, worst), *["-"] * (len(RELEASES) - len(worst))]
        lines.append([*cells, f"{max(one.fit_s + one.invert_s for one in worst):.1f} s"])
    return columns(head, lines, rule=True)


def share(record: AttackRecord, metric: str = "token-accuracy") -> str:
    """A metric with its interval, in percent."""
    return percent(record.metrics[metric])


def percent(found: Estimate) -> str:
    """A share with its interval, in percent."""
    return f"{found.value:.1%} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def interval(found: Estimate) -> str:
    """A cosine with its interval."""
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


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
