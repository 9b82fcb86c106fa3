"""What one card does, in one table: matrix products, decoders, white-box inversion, random defenses, and ResSFL.

    .venv/bin/python benchmarks/gpu.py --data-root DIR      unattended, within 8 minutes on a card such as an H100
    .venv/bin/python benchmarks/gpu.py --tiny               in seconds on any machine; its figures mean nothing

A part that fails says why, and the others go on; the exit status is 1 then. ResSFL has what is left of the time: the
numbers of its epochs follow from the speed of one. Published for CIFAR-100: mean squared error 0.050 at 67.5 % accuracy
(Li et al., CVPR 2022).
"""

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import tyro
from scipy.stats import ks_2samp
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.attack_speed import plain_decoder
from benchmarks.ressfl_full import compiled
from benchmarks.victim import CUT, MODEL, images, white_box
from cutlayer.attacks.base import fitted
from cutlayer.attacks.features.decoder import Decoder
from cutlayer.attacks.features.map import Map
from cutlayer.attacks.features.mean_image import MeanImage
from cutlayer.attacks.features.white_box import WhiteBox
from cutlayer.attacks.view import View
from cutlayer.data.load import load
from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.base import Defense
from cutlayer.defenses.dropout import Dropout
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.local_dp import LocalDP
from cutlayer.defenses.quantize import Quantize
from cutlayer.defenses.ressfl import EXPERTS, ResSFL
from cutlayer.machine.compute import pick_device, placed, tune_allocator
from cutlayer.metrics.image import mse, ssim
from cutlayer.models.halves import SplitModel, split
from cutlayer.models.zoo import build
from cutlayer.nets import decoders
from cutlayer.privacy.view import on_card
from cutlayer.spec import image_spec
from cutlayer.training import accuracy, train

RANDOM: tuple[Defense, ...] = (
    GaussianNoise(sigma=0.5), LaplaceNoise(scale=0.5), LocalDP(noise=0.1, clip=3.0), Dropout(rate=0.4),
    Quantize(bits=2, rounding="stochastic"),
)  # fmt: skip
CAPACITIES = ("conv_normN0C16", "res_normN4C64", "res_normN8C64")
SEED = 0


@dataclass(frozen=True)
class Size:
    """How much each part computes.

    Attributes:
        matrix: Rows and columns.
        images: Images on which decoders are trained.
        batch: Images in a step.
        epochs: Epochs whose time is measured, after a first one.
        searched: Images inverted together at each height and width.
        steps: Steps of white-box inversion.
        seconds: Time for which a rate is measured.
        total_s: Time for everything.
        most_epochs: Epochs of ResSFL's victim, defense and attacker, at most.
        attacker: The attacker's decoder.
        corrected: Steps of the search that corrects its pictures.
    """

    matrix: int = 8192
    images: int = 25_600
    batch: int = 256
    epochs: int = 4
    searched: tuple[tuple[int, int], ...] = ((32, 256), (224, 64))
    steps: int = 300
    seconds: float = 1.0
    total_s: float = 450.0
    most_epochs: int = 50
    attacker: str = CAPACITIES[-1]
    corrected: int = 100


TINY = Size(128, 10, 5, 1, ((32, 2), (40, 2)), 2, 0.01, 1.0, 1, CAPACITIES[0], 1)


def per_second(work: Callable[[], float], seconds: float) -> float:
    """How much a function does in a second; it returns how much it does in a call."""
    work()
    _synchronize()
    done, start = 0.0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        done += work()
        _synchronize()
    return done / (time.perf_counter() - start)


def seconds_of(work: Callable[[], object]) -> float:
    """The time that a function takes."""
    _synchronize()
    start = time.perf_counter()
    work()
    _synchronize()
    return time.perf_counter() - start


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matrix_rates(size: Size) -> dict[str, float]:
    """Print and return the rates of matrix products in FLOP/s, by precision."""
    rates = {}
    for name, dtype in (("bf16", torch.bfloat16), ("tf32", torch.float32)):
        torch.set_float32_matmul_precision("high")
        a, b = (torch.randn(size.matrix, size.matrix, device=pick_device(), dtype=dtype) for _ in range(2))
        rates[name] = per_second(lambda a=a, b=b: [2.0 * size.matrix**3, a @ b][0], size.seconds)  # type: ignore[misc]
        print(f"{name} matrix product, {size.matrix} rows and columns {rates[name] / 1e12:30.2f} TFLOP/s", flush=True)
    torch.set_float32_matmul_precision("highest")
    return rates


def view_of_images(n: int, side: int) -> View:
    """What a white-box attacker may use of an untrained victim, on the fastest device."""
    spec, device = image_spec(3, side, side), pick_device()
    torch.manual_seed(SEED)
    halves = split(build(MODEL, spec, 10), CUT, spec)
    halves.head.to(device)
    own = torch.nn.functional.interpolate(images(n, seed=1), (side, side))
    return white_box(halves, Dataset(own.numpy(), np.zeros(n, np.int64)), device)


def flops_of_training(network: nn.Module, smashed: tuple[int, ...]) -> float:
    """Floating-point operations of one forward and backward pass of one image."""
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(2, *smashed)).sum().backward()
    return float(counter.get_total_flops()) / 2


def decoder_rows(size: Size, rates: dict[str, float]) -> dict[str, float]:
    """Print the speed of training each decoder; return the best one of each, in images per second."""
    view, best = view_of_images(size.images, 32), {}
    training = int(0.9 * size.images)
    print(f"{'decoder':34}{'images/s':>12}{'TFLOP/s':>10}{'of bf16 rate':>14}{'of plain loop':>15}")
    for capacity in CAPACITIES:
        flops = flops_of_training(decoders.build(capacity, view.smashed.shape, view.input.shape), view.smashed.shape)

        def plain(epochs: int, capacity: str = capacity) -> None:
            plain_decoder(capacity, view, epochs=epochs, batch=size.batch)

        def ours(epochs: int, capacity: str = capacity) -> None:
            Decoder(capacity=capacity, epochs=epochs, batch=size.batch).fit(view)

        def ours_compiled(epochs: int, capacity: str = capacity) -> None:
            with patch("cutlayer.attacks.features.decoder.build", lambda *a: compiled(decoders.build(*a))):
                ours(epochs, capacity)

        ways = {"plain loop, eager": plain, "ours": ours}
        if capacity == CAPACITIES[-1]:  # a compilation takes tens of seconds
            ways["ours, compiled"] = ours_compiled
        speeds: dict[str, float] = {}
        for name, way in ways.items():
            way(1)
            first, all_epochs = seconds_of(lambda way=way: way(1)), seconds_of(lambda way=way: way(1 + size.epochs))  # type: ignore[misc]
            speeds[name] = size.epochs * training / max(all_epochs - first, 1e-3)
            tflops, ratio = speeds[name] * flops / 1e12, speeds[name] / speeds["plain loop, eager"]
            share = 100 * tflops * 1e12 / rates["bf16"]
            print(
                f"{capacity + ', ' + name:34}{speeds[name]:12,.0f}{tflops:10.2f}{share:12.1f} %{ratio:14.2f}x",
                flush=True,
            )
        best[capacity] = max(speeds.values())
    return best


def white_box_rows(size: Size) -> None:
    """Print the speed of white-box inversion."""
    for side, n in size.searched:
        view = view_of_images(max(8, n), side)
        attack = WhiteBox(iterations=size.steps, lr=(0.1,), tv=(1.0,))
        attack.fit(view)
        received = view.query(torch.from_numpy(view.auxiliary.inputs[:n])).clone()
        attack.invert(received[:1])
        seconds = seconds_of(lambda: attack.invert(received))  # noqa: B023
        print(
            f"white-box, {n} images of {side}x{side}, {size.steps} steps {seconds:20.2f} s, "
            f"{1e3 * seconds / n:.2f} ms an image",
            flush=True,
        )


def defense_rows(size: Size) -> None:
    """Print how many releases of random defenses a second gives, and whether their law is that of the device."""
    view, device = view_of_images(size.batch, 32), pick_device()
    own = torch.from_numpy(view.auxiliary.inputs).to(device)
    print(f"{'releases of':82}{'on the card':>14}{'through numpy':>15}{'p of KS test':>14}")
    for defense in RANDOM:
        query, draws = on_card(view.head, defense, device, [SEED]), np.random.default_rng(SEED)

        @torch.no_grad()
        def through_numpy(defense: Defense = defense, draws: np.random.Generator = draws) -> Tensor:
            sent = defense.protect(view.head(own).cpu().numpy(), draws)
            return torch.from_numpy(sent).to(device)

        laws = [sent.flatten()[:100_000].cpu().numpy().round(4) for sent in (query(own), through_numpy())]
        speeds = [
            per_second(lambda work=work: len(work()), size.seconds)  # type: ignore[misc]
            for work in (lambda query=query: query(own), through_numpy)
        ]
        print(f"{defense!r:82}{speeds[0]:12,.0f}/s{speeds[1]:13,.0f}/s{ks_2samp(*laws).pvalue:14.3f}", flush=True)


def ressfl_rows(size: Size, data: Splits, speeds: dict[str, float], left_s: float) -> None:
    """Train a victim, defend it with ResSFL, and attack both with a decoder and with `map` on top of it."""
    model = build(MODEL, data.input, len(data.classes), SEED)

    def epochs(share: float, one_s: float) -> int:
        return max(1, min(size.most_epochs, int(share * left_s / one_s)))

    def fit(n: int) -> None:
        train(model, data.train, epochs=n, seed=SEED, batch=128, flip=True)

    fit(1)
    fit(epochs(0.1, seconds_of(lambda: fit(1))))
    victim = split(model, CUT, data.input)
    shallow = ResSFL(**{**EXPERTS[MODEL, CUT], "decoder": CAPACITIES[1], "epochs": 1, "batch": 128, "flip": True})
    shallow.harden(victim, data, SEED)
    defense = replace(shallow, epochs=epochs(0.3, seconds_of(lambda: shallow.harden(victim, data, SEED))))
    attack_epochs = epochs(0.15, len(data.auxiliary) / speeds[size.attacker])
    print(f"{data.name}, {len(data.train):,} images; {defense!r}")
    for name, halves in (("undefended", victim), ("ResSFL", defense.harden(victim, data, SEED))):
        correct, n = accuracy(nn.Sequential(halves.head, halves.tail), data.test)
        print(f"{name:12} accuracy {100 * correct / n:5.1f} % (n={n})", flush=True)
        attack_rows(halves, data, size, attack_epochs)


def attack_rows(halves: SplitModel, data: Splits, size: Size, epochs: int) -> None:
    """Print the errors of the attacks on one split model."""
    device, private = pick_device(), torch.from_numpy(data.private.inputs[:1000])
    options: dict[str, Any] = {"capacity": size.attacker, "epochs": epochs, "batch": size.batch, "varied": True}
    attacks = {
        "mean image": MeanImage(),
        f"decoder {size.attacker}, {epochs} epochs": Decoder(**options),
        f"map on top of it, {size.corrected} steps": Map(options=options, iterations=size.corrected),
    }
    with placed(device, halves.head):
        view = white_box(halves, data.auxiliary, device)
        for name, attack in attacks.items():
            start = time.perf_counter()
            able = fitted(attack, view)
            rebuilt = torch.cat([able.invert(view.query(part).clone()).cpu() for part in private.split(250)])
            print(
                f"  {name:42} MSE {mse(rebuilt, private).mean():.4f}  SSIM {ssim(rebuilt, private).mean():.3f}  "
                f"(n={len(private)}, {time.perf_counter() - start:.0f} s)",
                flush=True,
            )


def made(n: int) -> Splits:
    """Images of chance with labels of chance, in place of a data set."""
    part = Dataset(images(n, seed=2).numpy(), np.arange(n) % 2)
    return Splits("made", ("a", "b"), part, part, part, part)


def main(data: str = "cifar10", data_root: Path | None = None, tiny: bool = False) -> None:
    """Print the table.

    Args:
        data: The data set of ResSFL.
        data_root: Where its files are; the folder that `CUTLAYER_DATA` names if absent.
        tiny: Run every part in a size that any machine can compute in seconds.
    """
    tune_allocator()
    start, failed, size = time.perf_counter(), list[str](), TINY if tiny else Size()
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no card, the CPU"
    print(f"{name}, torch {torch.__version__}")
    rates, speeds = {"bf16": float("nan")}, dict.fromkeys(CAPACITIES, 1.0)

    def ressfl() -> None:
        left_s = size.total_s - (time.perf_counter() - start)
        ressfl_rows(size, made(size.images) if tiny else load(data, data_root, SEED), speeds, left_s)

    parts: dict[str, Callable[[], object]] = {
        "matrix": lambda: rates.update(matrix_rates(size)),
        "decoders": lambda: speeds.update(decoder_rows(size, rates)),
        "white-box": lambda: white_box_rows(size),
        "defenses": lambda: defense_rows(size),
        "ressfl": ressfl,
    }
    for part, work in parts.items():
        try:
            work()
        except Exception:
            failed.append(part)
            print(f"The part {part} failed:\n{traceback.format_exc()}", flush=True)
    print(f"{time.perf_counter() - start:.0f} s" + (f"; failed: {', '.join(failed)}" if failed else ""))
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
