"""White-box inversion: all images as one batch, against the loop over single images of the published code.

    .venv/bin/python benchmarks/white_box.py

Prints seconds per image and ratios, and how far the reconstructions of the loop, of float32 and of bfloat16 lie apart.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.interleaved import Prepare, compare
from benchmarks.victim import CUT, MODEL, images, trained, untrained
from cutlayer.attacks.features.misfit import Scaling
from cutlayer.attacks.features.white_box import WhiteBox, remaining, total_variation
from cutlayer.attacks.view import View
from cutlayer.machine.compute import has_fast_bf16, tune_allocator
from cutlayer.metrics.image import psnr_db

BATCH, LOOPED, STEPS = 64, 2, 50
LR, TV = 0.1, 1.0


def one_by_one(head: nn.Module, received: Tensor, scale: Scaling, steps: int) -> Tensor:
    """The published way: one image and one optimizer at a time, with our objective, steps and rates."""
    images = []
    for smashed in received.split(1):
        x = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
        optimizer = torch.optim.Adam([x], LR)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: remaining(step, steps))
        for _ in range(steps):
            optimizer.zero_grad()
            loss = scale(head(x) - smashed).square().mean() + TV * total_variation(x).sum()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                x.clamp_(0, 1)
        images.append(x.detach())
    return torch.cat(images)


def fitted(view: View, bf16: bool, steps: int) -> WhiteBox:
    """The attack after `fit`."""
    attack = WhiteBox(iterations=steps, lr=(LR,), tv=(TV,), bf16=bf16)
    attack.fit(view)
    return attack


def prepare_loop() -> Callable[[], int]:
    """The loop over single images, for `compare`."""
    view = untrained(8)
    attack, received = fitted(view, bf16=False, steps=STEPS), view.query(images(LOOPED, seed=2))

    def work() -> int:
        one_by_one(view.head, received, attack._misfit.scalings["plain"], STEPS)
        return LOOPED

    return work


def prepare_batch(bf16: bool) -> Callable[[], int]:
    """Our batch, for `compare`."""
    tune_allocator()
    view = untrained(8)
    attack, received = fitted(view, bf16, STEPS), view.query(images(BATCH, seed=2))

    def work() -> int:
        attack.invert(received)
        return BATCH

    return work


def main() -> None:
    """Print the times, then the PSNR of the reconstructions."""
    print(f"{MODEL} at {CUT}, {STEPS} steps, {BATCH} images in a batch, {torch.get_num_threads()} threads")
    contenders: dict[str, Prepare] = {
        "one image at a time, float32": prepare_loop,
        "one batch, float32": partial(prepare_batch, False),
    }
    if has_fast_bf16():
        contenders["one batch, bfloat16, last tenth float32"] = partial(prepare_batch, True)
    compare(contenders)
    steps, (view, truth) = 300, trained(BATCH)
    exact, received = fitted(view, bf16=False, steps=steps), view.query(truth)
    batched = exact.invert(received)
    looped = one_by_one(view.head, received[:LOOPED], exact._misfit.scalings["plain"], steps)
    fast = fitted(view, bf16=True, steps=steps).invert(received)
    print(f"photographs and a trained network, {steps} steps, mean PSNR:")
    print(f"  loop     {psnr_db(looped, truth[:LOOPED]).mean():6.2f} dB (n={LOOPED})")
    print(f"  float32  {psnr_db(batched[:LOOPED], truth[:LOOPED]).mean():6.2f} dB on the same", end="")
    print(f"; largest pixel difference to the loop {(looped - batched[:LOOPED]).abs().max():.1e}")
    print(f"  float32  {psnr_db(batched, truth).mean():6.2f} dB (n={BATCH})")
    print(f"  bfloat16 {psnr_db(fast, truth).mean():6.2f} dB (n={BATCH})")


if __name__ == "__main__":
    main()
