"""Training of a decoder by `cutlayer.attacks.features.decoder`, against a plain float32 loop.

.venv/bin/python benchmarks/decoder_training.py
"""

from collections.abc import Callable
from functools import partial

import torch
from torch.nn.functional import mse_loss

from benchmarks.interleaved import compare
from benchmarks.victim import CUT, MODEL, images, untrained
from cutlayer.attacks.features.decoder import Decoder
from cutlayer.machine.compute import has_fast_bf16, tune_allocator
from cutlayer.nets.decoders import build

N_IMAGES, BATCH = 640, 64


def prepare_plain(capacity: str) -> Callable[[], int]:
    """A plain loop: eager, float32, contiguous, with the default settings of the C library's allocator."""
    view = untrained(N_IMAGES)
    truth = images(N_IMAGES, seed=1)
    network = build(capacity, view.smashed.shape, view.input.shape)
    optimizer = torch.optim.Adam(network.parameters())

    def work() -> int:
        smashed = view.query(truth)
        network.train()
        for rows in torch.randperm(N_IMAGES).split(BATCH):
            optimizer.zero_grad()
            mse_loss(network(smashed[rows]), truth[rows]).backward()
            optimizer.step()
        return N_IMAGES

    return work


def prepare_ours(capacity: str) -> Callable[[], int]:
    """One epoch of the attack, including its queries of the device and its validation."""
    tune_allocator()
    view = untrained(N_IMAGES)

    def work() -> int:
        Decoder(capacity=capacity, epochs=1, batch=BATCH).fit(view)
        return N_IMAGES

    return work


def main() -> None:
    """Print one table for each capacity."""
    precision = "bfloat16" if has_fast_bf16() else "float32 (this processor has no fast bfloat16)"
    for capacity in ("conv_normN0C16", "res_normN4C64"):
        print(f"{capacity} for {MODEL} at {CUT}, one epoch of {N_IMAGES} images, {torch.get_num_threads()} threads")
        compare(
            {"plain float32": partial(prepare_plain, capacity), f"ours, {precision}": partial(prepare_ours, capacity)}
        )


if __name__ == "__main__":
    main()
