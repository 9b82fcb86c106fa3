"""Bytes, speed and error of each codec on real activations, and the bandwidth below which it pays off.

    .venv/bin/python benchmarks/codecs.py [--epochs 1] [--rounds 40]

VGG-11-BN trained on `photos` (kept in runs/models/, as `cutlayer run` keeps it; `--epochs 0` takes random weights), cut
at features.7: test images after their ReLU and pooling. Codecs take turns within one run, in an order that rotates;
figures are medians over the rounds. MB/s counts the bytes of the float32 tensor, with one thread.

"Pays below" is the bandwidth at which the time that a codec takes on both sides equals the time that its fewer bytes
save on the network: on a slower network it makes a request faster. It is given against raw, and for a packed codec also
against the bare codec.
"""

import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro
from numpy.typing import NDArray

from cutlayer.machine.compute import tune_allocator
from cutlayer.wire.codecs.base import Codec
from cutlayer.wire.codecs.packed import codec_named, decode

MODEL, CUT, DATA = "vgg11_bn", "features.7", "photos"
BATCHES = (1, 32)
CODECS = [
    "raw", "raw+zstd", "raw+shuffle+zstd", "fp16", "fp16+zstd", "fp16+shuffle+zstd", "bf16", "bf16+zstd",
    "bf16+shuffle+zstd", "int8", "int8+zstd", "int8:channel", "int8:channel+zstd", "int4", "int4+zstd", "int4:channel",
    "int4:channel+zstd", "top-k:0.1", "top-k:0.1+zstd", "top-k:0.25", "top-k:0.25+zstd",
]  # fmt: skip
ROW = "{:<20}{:>10}{:>8}{:>13}{:>13}{:>11}   {:<14}{:<14}"


Floats = NDArray[np.float32]


class Cost(NamedTuple):
    """The cost of one codec for one batch, in medians.

    Attributes:
        nbytes: Bytes on the wire.
        encode_s: Seconds to encode.
        decode_s: Seconds to decode.
        error: Root mean square of the error, as a fraction of the root mean square of the tensor.
    """

    nbytes: int
    encode_s: float
    decode_s: float
    error: float


def activations(n: int, epochs: int) -> Floats:
    """The output of the trained head for test images: ``(n, 128, 8, 8)``."""
    import torch

    from cutlayer.data.load import load
    from cutlayer.experiment import victim
    from cutlayer.experiment.spec import Experiment, Training
    from cutlayer.models.halves import split

    torch.manual_seed(0)
    data, experiment = load(DATA, None, 0), Experiment(DATA, MODEL, CUT, training=Training(epochs=epochs))
    model = victim.trained(experiment, data, Path("runs"), lambda text: print(text, flush=True))
    with torch.inference_mode():
        head = split(model, CUT, data.input).head
        return np.ascontiguousarray(head(torch.from_numpy(data.test.inputs[:n])).numpy())


def measure(smashed: Floats, batch: int, rounds: int) -> dict[str, Cost]:
    """Measure each codec on each of the batches, in turn."""
    codecs = {name: codec_named(name) for name in CODECS}
    batches = [smashed[at : at + batch] for at in range(0, len(smashed), batch)]
    samples: dict[str, list[tuple[float, float, int]]] = {name: [] for name in codecs}
    for turn in range(rounds + 1):
        array = batches[turn % len(batches)]
        for place in range(len(codecs)):
            name = CODECS[(turn + place) % len(CODECS)]
            # The first turn warms up.
            samples[name] += [_timed(codecs[name], array)] * (turn > 0)
    return {name: _cost(codecs[name], smashed, samples[name]) for name in codecs}


def _timed(codec: Codec, array: Floats) -> tuple[float, float, int]:
    start = time.perf_counter()
    encoded = codec.encode(array)
    between = time.perf_counter()
    decode(encoded)
    return between - start, time.perf_counter() - between, len(encoded.data)


def _cost(codec: Codec, smashed: Floats, samples: list[tuple[float, float, int]]) -> Cost:
    encode_s, decode_s, nbytes = np.median(samples, axis=0)
    error = np.sqrt(np.mean((decode(codec.encode(smashed)) - smashed) ** 2) / np.mean(smashed**2))
    return Cost(int(nbytes), encode_s, decode_s, float(error))


def pays_below(cost: Cost, other: Cost) -> str:
    """The bandwidth at which both codecs take equally long, in words."""
    saved_bits = 8 * (other.nbytes - cost.nbytes)
    extra_s = cost.encode_s + cost.decode_s - other.encode_s - other.decode_s
    if saved_bits <= 0:
        return "never" if extra_s >= 0 else "-"
    if extra_s <= 0:
        return "always"
    bps = saved_bits / extra_s
    return f"{bps / 1e9:.1f} Gbit/s" if bps >= 1e9 else f"{bps / 1e6:.0f} Mbit/s"


def show(costs: dict[str, Cost], raw_bytes: int) -> None:
    """Print one row for each codec."""
    print(
        ROW.format("codec", "bytes", "ratio", "encode MB/s", "decode MB/s", "error", "pays below", "over bare").rstrip()
    )
    for name, cost in costs.items():
        bare = name.partition("+")[0]
        speeds = [f"{raw_bytes / seconds / 1e6:,.0f}" for seconds in (cost.encode_s, cost.decode_s)]
        print(
            ROW.format(
                name, f"{cost.nbytes:,}", f"{raw_bytes / cost.nbytes:.2f}x", *speeds, f"{cost.error:.2%}",
                "" if name == "raw" else pays_below(cost, costs["raw"]),
                "" if name == bare else pays_below(cost, costs[bare]),
            ).rstrip()
        )  # fmt: skip


def main(epochs: int = 1, rounds: int = 40) -> None:
    """Print one table for each size of batch."""
    smashed = activations(8 * max(BATCHES), epochs)
    tune_allocator()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {np.mean(smashed == 0):.0%} of the numbers are 0")
    for batch in BATCHES:
        nbytes = smashed[:batch].nbytes
        print(f"\n{MODEL} at {CUT}, batch {batch}: {nbytes:,} bytes (n = {rounds})")
        show(measure(smashed, batch, rounds), nbytes)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
