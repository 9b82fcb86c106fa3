"""ResSFL at full size: VGG-11-BN cut at features.7 (their cut 4), its speed of training and its resistance.

Published for CIFAR-100: mean squared error 0.050 against 0.005 undefended, at 67.5 % accuracy (Li et al., CVPR 2022).

.venv/bin/python benchmarks/ressfl_full.py                                   a machine with a GPU
.venv/bin/python benchmarks/ressfl_full.py --images 5000 --private 500 --batch 64 --victim-epochs 8 \
    --defense-epochs 4 --attack-epochs 6                                     one core, a quarter of an hour
.venv/bin/python benchmarks/ressfl_full.py --data photos --images 640 --private 100 --victim-epochs 1 \
    --defense-epochs 1 --attack-epochs 1 --decoder conv_normN0C16 --attackers conv_normN0C16       any machine
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import torch
import tyro
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from benchmarks.victim import CUT, MODEL, white_box
from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.decoder import Decoder
from cutlayer.attacks.features.mean_image import MeanImage
from cutlayer.attacks.features.ridge import Ridge
from cutlayer.data.load import load
from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.ressfl import EXPERTS, ResSFL
from cutlayer.defenses.shared.surrogate import Surrogate
from cutlayer.machine.compute import pick_device, placed, tune_allocator
from cutlayer.metrics.image import mse, ssim, structural_similarity
from cutlayer.models import zoo
from cutlayer.models.halves import SplitModel, split
from cutlayer.nets import decoders
from cutlayer.training import accuracy, train

SEED = 0
say = partial(print, flush=True)  # for a log, because it takes an hour without a GPU


def compiled(module: nn.Module) -> nn.Module:
    """Compile a module on a GPU, where that pays."""
    if pick_device().type == "cuda":
        module.compile()
    return module


def harden(defense: ResSFL, victim: SplitModel, data: Dataset) -> SplitModel:
    """Run `ResSFL.harden` step by step, with compiled networks."""
    device, halves, surrogate = pick_device(), defense.surgery(victim), None
    for half in (halves.head, halves.tail):
        compiled(half)
    start = time.perf_counter()
    if defense.weight:
        surrogate = Surrogate(defense.decoder, halves.smashed.shape, halves.input.shape, SEED, device)
        compiled(surrogate.network)
        with placed(device, halves.head):
            surrogate.pretrain(halves.head, data, defense.pretrain_epochs, defense.batch)
    training = time.perf_counter()
    defense.train(halves, surrogate, data, SEED, device)
    seconds = time.perf_counter() - training
    say(f"  trained in {time.perf_counter() - start:.0f} s: {len(data) * defense.epochs / seconds:,.0f} images/s")
    return halves


def evaluate(halves: SplitModel, data: Splits, n_private: int, attacks: Sequence[Attack]) -> None:
    """Print the accuracy of the halves and the result of each attack on them."""
    device = pick_device()
    correct, n = accuracy(nn.Sequential(halves.head, halves.tail), data.test, device=device)
    say(f"  accuracy {correct / n:.3f} (n = {n}); sent: {halves.smashed}")
    private = torch.from_numpy(data.private.inputs[:n_private]).to(device)
    seen = white_box(halves, data.auxiliary, device)
    for attack in attacks:
        # The attack is unchanged except for its network, which is compiled.
        with (
            placed(device, halves.head),
            patch("cutlayer.attacks.features.decoder.build", lambda *a: compiled(decoders.build(*a))),
        ):
            start = time.perf_counter()
            attack.fit(seen)
            seconds = time.perf_counter() - start
            rebuilt = torch.cat([attack.invert(seen.query(part)).to(device) for part in private.split(250)])
        error, likeness = mse(rebuilt, private).mean(), ssim(rebuilt, private).mean()
        name, speed = type(attack).__name__, ""
        if isinstance(attack, Decoder):
            name = attack.capacity
            speed = f"; whole fit at {len(data.auxiliary) * attack.epochs / seconds:,.0f} images/s"
        say(f"  {name:16} MSE {error:.4f}  SSIM {likeness:.3f}  (n = {len(private)}){speed}")


def plain_defense(defense: ResSFL, victim: SplitModel, data: Dataset) -> Iterator[int]:
    """Attacker-aware training in a plain loop: eager, float32, contiguous, images on the host.

    Yields the number of images in each step, without end.
    """
    device, halves = pick_device(), defense.surgery(victim)
    head, tail = halves.head.to(device).train(), halves.tail.to(device).train()
    network = decoders.build(defense.decoder, halves.smashed.shape, halves.input.shape).to(device)
    model = torch.optim.AdamW([*head.parameters(), *tail.parameters()])
    adversary = torch.optim.Adam(network.parameters())
    while True:
        for index in torch.randperm(len(data)).split(defense.batch):
            x = torch.from_numpy(data.inputs[index.numpy()]).to(device)
            y = torch.from_numpy(data.labels[index.numpy()]).to(device)
            smashed = head(x)
            adversary.zero_grad()
            torch.autograd.backward(-structural_similarity(network(smashed.detach()), x).mean())
            adversary.step()
            leak = (structural_similarity(network(smashed), x).mean() - defense.threshold).relu()
            model.zero_grad()
            torch.autograd.backward(cross_entropy(tail(smashed), y) + defense.weight * leak)
            model.step()
            yield len(index)


def plain_attack(capacity: str, halves: SplitModel, data: Dataset, batch: int) -> Iterator[int]:
    """The training of a decoder in a plain loop; see `plain_defense`."""
    device = pick_device()
    with torch.no_grad(), placed(device, halves.head):
        parts = torch.from_numpy(data.inputs).split(batch)
        smashed = torch.cat([halves.head(part.to(device)).cpu() for part in parts])
    network = decoders.build(capacity, halves.smashed.shape, halves.input.shape).to(device)
    optimizer = torch.optim.Adam(network.parameters())
    while True:
        for index in torch.randperm(len(data)).split(batch):
            optimizer.zero_grad()
            x = torch.from_numpy(data.inputs[index.numpy()]).to(device)
            torch.autograd.backward(mse_loss(network(smashed[index].to(device)), x))
            optimizer.step()
            yield len(index)


def rate(steps: Iterator[int], seconds: float = 10.0) -> float:
    """Images per second, without the first three steps."""
    for _ in range(3):
        next(steps)
    _synchronize()
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += next(steps)
    _synchronize()
    return images / (time.perf_counter() - start)


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main(
    data: str = "cifar10", images: int = 0, private: int = 1000, batch: int = 128, victim_epochs: int = 30,
    defense_epochs: int = 30, attack_epochs: int = 50, weight: float = EXPERTS[MODEL, CUT]["weight"],
    threshold: float = 0.5, decoder: str = "res_normN4C64",
    attackers: tuple[str, ...] = ("res_normN4C64", "res_normN8C64"),
) -> None:  # fmt: skip
    """Print the results without a defense, with the bottleneck alone and with ResSFL, then the plain loops.

    `images` limits the training set and the auxiliary set; 0 takes all images.
    """
    tune_allocator()
    splits = load(data, seed=SEED)
    if images:
        splits = replace(splits, train=splits.train.take(images), auxiliary=splits.auxiliary.take(images))
    say(f"{MODEL} at {CUT}, {data}: {len(splits.train):,} training, {len(splits.auxiliary):,} auxiliary images")
    model = zoo.build(MODEL, splits.input, len(splits.classes), SEED)
    train(model, splits.train, epochs=victim_epochs, seed=SEED, batch=batch, flip=True)
    victim = split(model, CUT, splits.input)
    decoding = [Decoder(capacity=name, epochs=attack_epochs, batch=batch) for name in attackers]
    attacks = [MeanImage(), Ridge(), *decoding]
    say("undefended")
    evaluate(victim, splits, private, attacks)
    for strength in (0.0, weight):
        defense = ResSFL(
            bottleneck=EXPERTS[MODEL, CUT]["bottleneck"], weight=strength, threshold=threshold, decoder=decoder,
            pretrain_epochs=max(1, defense_epochs // 10), epochs=defense_epochs, batch=batch, flip=True,
        )  # fmt: skip
        say(defense)
        halves = harden(defense, victim, splits.train)
        evaluate(halves, splits, private, attacks)
    say("plain eager float32 loops")
    say(f"  defense {rate(plain_defense(defense, victim, splits.train)):,.0f} images/s")
    for capacity in attackers:
        steps = plain_attack(capacity, halves, splits.auxiliary.take(20 * batch), batch)
        say(f"  {capacity} {rate(steps):,.0f} images/s")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
