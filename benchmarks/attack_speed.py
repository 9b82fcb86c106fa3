"""Speed of the attacks against the loops of the published code: training of decoders, and white-box inversion.

    .venv/bin/python benchmarks/attack_speed.py
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 .venv/bin/python benchmarks/attack_speed.py   as on an older one

Contenders take turns, with one thread each, and the processor time of each is measured. Of a decoder the whole training
is timed, the choice of an epoch by held-out images included; what the head gives for the images is known before, except
for the loop that asks at each step. The last lines of each part compare the results on photographs.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from unittest.mock import patch

import torch
import tyro
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks.interleaved import Prepare, compare
from benchmarks.victim import CUT, MODEL, images, trained, untrained
from cutlayer.attacks.features.decoder import Decoder
from cutlayer.attacks.features.misfit import Scaling
from cutlayer.attacks.features.white_box import WhiteBox, remaining, total_variation
from cutlayer.attacks.queries import HELD_OUT, with_held_out
from cutlayer.attacks.view import View
from cutlayer.machine import compute
from cutlayer.machine.compute import has_fast_bf16, tune_allocator
from cutlayer.metrics.image import mse, psnr_db
from cutlayer.nets.decoders import build
from cutlayer.nets.grid import standardize

DECODERS = ("conv_normN0C16", "conv_normN2C32", "conv_normN4C64")
N_IMAGES, BATCH, EPOCHS, LR = 320, 64, 4, 5e-3
STEPS, LOOPED, STEP, TV = 50, 2, 0.1, 1.0


def plain_decoder(
    capacity: str, view: View, *, ask_at_each_step: bool = False, epochs: int = EPOCHS, batch: int = BATCH
) -> nn.Module:
    """The training of `Decoder` in a plain loop: eager, float32, contiguous; weights, order and rates are the same."""
    generator = torch.Generator().manual_seed(view.seed)
    own, training = with_held_out(view, 0, HELD_OUT)
    torch.manual_seed(view.seed)
    network = build(capacity, view.smashed.shape, view.input.shape).to(view.device)
    own = own.to(view.device)
    smashed = view.query(own[:512]) if ask_at_each_step else torch.cat([view.query(part) for part in own.split(256)])
    standardize(network, smashed[:512])
    optimizer = torch.optim.Adam(network.parameters(), LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-training // batch))
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(training, generator=generator).to(view.device).split(batch):
            optimizer.zero_grad()
            arrived = view.query(own[rows]).clone() if ask_at_each_step else smashed[rows]
            torch.autograd.backward(mse_loss(network(arrived), own[rows]))
            optimizer.step()
            schedule.step()
    return network.eval()


def decoder(capacity: str) -> Decoder:
    """The attack, with the settings of the plain loop."""
    return Decoder(capacity=capacity, epochs=EPOCHS, batch=BATCH, lr=LR)


def prepare_plain(capacity: str, ask_at_each_step: bool) -> Callable[[], int]:
    """The plain loop, for `compare`, with the C library's allocator as it is."""
    torch.set_num_threads(1)
    view = untrained(N_IMAGES)
    if not ask_at_each_step:
        view = remembering(view)

    def work() -> int:
        plain_decoder(capacity, view, ask_at_each_step=ask_at_each_step)
        return EPOCHS * N_IMAGES

    return work


def prepare_ours(capacity: str, bf16: bool) -> Callable[[], int]:
    """The attack, for `compare`."""
    torch.set_num_threads(1)
    tune_allocator()
    view = remembering(untrained(N_IMAGES))

    def work() -> int:
        with nullcontext() if bf16 else without_bf16():
            decoder(capacity).fit(view)
        return EPOCHS * N_IMAGES

    return work


def remembering(view: View) -> View:
    """The view with a query that computes the answer to each batch once."""
    answers = dict[bytes, Tensor]()

    def query(batch: Tensor) -> Tensor:
        key = batch.numpy().tobytes()
        if key not in answers:
            answers[key] = view.query(batch)
        return answers[key]

    return view.with_query(query)


@contextmanager
def without_bf16() -> Iterator[None]:
    """Have this processor compute in float32."""
    with patch.object(compute, "has_fast_bf16", lambda: False):
        yield


def one_by_one(head: nn.Module, received: Tensor, scale: Scaling, steps: int) -> Tensor:
    """The published way: one image and one optimizer at a time, with our objective, steps and rates."""
    found = []
    for smashed in received.split(1):
        x = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
        optimizer = torch.optim.Adam([x], STEP)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: remaining(step, steps))
        for _ in range(steps):
            optimizer.zero_grad()
            loss = scale(head(x) - smashed).square().mean() + TV * total_variation(x).sum()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                x.clamp_(0, 1)
        found.append(x.detach())
    return torch.cat(found)


def fitted(view: View, bf16: bool, steps: int) -> WhiteBox:
    """The white-box attack after `fit`."""
    attack = WhiteBox(iterations=steps, lr=(STEP,), tv=(TV,), bf16=bf16)
    attack.fit(view)
    return attack


def prepare_loop() -> Callable[[], int]:
    """The loop over single images, for `compare`."""
    torch.set_num_threads(1)
    view = untrained(8)
    attack, received = fitted(view, bf16=False, steps=STEPS), view.query(images(LOOPED, seed=2))

    def work() -> int:
        one_by_one(view.head, received, attack._misfit.scalings["plain"], STEPS)
        return LOOPED

    return work


def prepare_batch(bf16: bool) -> Callable[[], int]:
    """Our batch, for `compare`."""
    torch.set_num_threads(1)
    tune_allocator()
    view = untrained(8)
    attack, received = fitted(view, bf16, STEPS), view.query(images(BATCH, seed=2))

    def work() -> int:
        attack.invert(received)
        return BATCH

    return work


def say_same_result(capacity: str, view: View, truth: Tensor) -> None:
    """Print the errors of the plain loop and of the attack on the same photographs."""
    smashed = view.query(truth)
    network = plain_decoder(capacity, view)
    with torch.no_grad():
        plain = mse(network(smashed).clamp(0, 1), truth)
    for precision in ("float32", *(["bfloat16"] if has_fast_bf16() else [])):
        attack = decoder(capacity)
        with without_bf16() if precision == "float32" else nullcontext():
            attack.fit(view)
        ours = mse(attack.invert(smashed), truth)
        change, spread = (ours - plain).mean(), 1.96 * (ours - plain).std() / len(truth) ** 0.5
        print(
            f"  photographs: MSE {plain.mean():.5f} by the plain loop, {ours.mean():.5f} by ours in {precision}; "
            f"difference {change:+.5f} ± {spread:.5f} (95 %, n={len(truth)})",
            flush=True,
        )


def main(only: tuple[str, ...] = (*DECODERS, "white-box"), rounds: int = 3, photographs: int = 200) -> None:
    """Print the times of the parts, and how far the results lie apart.

    Args:
        only: Names of decoders, or ``white-box``.
        rounds: Turns of each contender.
        photographs: Photographs on which the results are compared.
    """
    torch.set_num_threads(1)
    view, truth = trained(photographs, 2 * N_IMAGES, 500)
    print(f"{MODEL} at {CUT}, one thread; bfloat16 is {'used' if has_fast_bf16() else 'not fast here'}")
    for capacity in (name for name in only if name != "white-box"):
        print(f"{capacity}, {EPOCHS} epochs of {N_IMAGES} images, batch {BATCH}; times are per image and epoch")
        contenders: dict[str, Prepare] = {
            "plain loop, pairs kept": partial(prepare_plain, capacity, False),
            "ours, float32": partial(prepare_ours, capacity, False),
        }
        if capacity == DECODERS[0]:  # the smallest one, beside which the head counts most
            contenders["plain loop, head asked at each step"] = partial(prepare_plain, capacity, True)
        if has_fast_bf16():
            contenders["ours, bfloat16"] = partial(prepare_ours, capacity, True)
        compare(contenders, rounds, time.process_time)
        say_same_result(capacity, view, truth)
    if "white-box" not in only:
        return
    print(f"white-box, {STEPS} steps; {BATCH} images in a batch")
    contenders = {"one image at a time, float32": prepare_loop, "one batch, float32": partial(prepare_batch, False)}
    if has_fast_bf16():
        contenders["one batch, bfloat16, last tenth float32"] = partial(prepare_batch, True)
    compare(contenders, rounds, time.process_time)
    steps, truth = 100, truth[:16]
    exact, received = fitted(view, bf16=False, steps=steps), view.query(truth)
    batched = exact.invert(received)
    looped = one_by_one(view.head, received[:LOOPED], exact._misfit.scalings["plain"], steps)
    print(
        f"  photographs, {steps} steps, mean PSNR: loop {psnr_db(looped, truth[:LOOPED]).mean():.2f} dB, batch ", end=""
    )
    print(
        f"{psnr_db(batched[:LOOPED], truth[:LOOPED]).mean():.2f} dB on the same {LOOPED}; largest difference of a ",
        end="",
    )
    print(
        f"pixel {(looped - batched[:LOOPED]).abs().max():.1e}; batch float32 {psnr_db(batched, truth).mean():.2f}",
        end="",
    )
    print(f" dB, bfloat16 {psnr_db(fitted(view, True, steps).invert(received), truth).mean():.2f} dB (n={len(truth)})")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
