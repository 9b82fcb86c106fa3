"""The judges of pictures that are to show classes: two networks that are not the victim's, and what they say.

Success is what a judge says, so the judge decides every figure, and three faults of judges are common:

- One that can only name the victim's classes calls a stranger's nearest face right in one of four cases. Here both
  judges may name the attacker's classes as well.
- One network takes noise for a class that another network does not. Here the second judge is of another family, and
  the figure to quote is how often both agree.
- An attack that asks the judge which of its pictures to show is judged by itself. Here no attack can, since
  `cutlayer.privacy` lies above `cutlayer.attacks` in the order of imports, and a `ClassView` holds no judge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cutlayer import training
from cutlayer.data.splits import Dataset
from cutlayer.data.withheld import ClassData, joined
from cutlayer.errors import ConfigError
from cutlayer.machine.compute import pick_device
from cutlayer.metrics import class_level
from cutlayer.metrics.class_level import ClassScore, Spread
from cutlayer.metrics.interval import bootstrap
from cutlayer.metrics.judge import Judge
from cutlayer.models.kept import Say, remembered

STEPS, LEAST, BATCH = 1500, 3, 64
"""Steps of a judge's training, least number of passes over its samples, and samples in each step."""
WEAK = 0.9
"""A judge that is right about a smaller share of real samples is said to be weak."""
REAL = 200
"""Training samples of a class among which diversity and KID are measured, at most."""
_CHUNK = 250


@dataclass(frozen=True)
class Judges:
    """Two judges of the same classes.

    Attributes:
        first: A convolutional network; its features measure distances.
        second: A fully connected network, which only says what it sees.
        accuracies: Share of the real samples of the victim's classes, none of them seen in training, that each names
            rightly among all classes.
        data: The classes.
    """

    first: Judge
    second: Judge
    accuracies: tuple[float, float]
    data: ClassData
    _known: dict[int, Known] = field(default_factory=dict, repr=False)

    @property
    def titles(self) -> tuple[str, str]:
        """What each is, and how often it is right, as sentences."""
        return self.first.title, self.second.title

    @property
    def weak(self) -> tuple[str, ...]:
        """The titles of those that are right about fewer than `WEAK` of real samples."""
        return tuple(title for title, share in zip(self.titles, self.accuracies, strict=True) if share < WEAK)

    def features(self, images: Tensor) -> Tensor:
        """The features of the first judge, ``(N, D)``."""
        return self.first.features(images)

    def known(self, label: int) -> Known:
        """The features of real samples of a class."""
        if label not in self._known:
            data = self.data
            of_victim = label < data.n_private
            train = data.train if of_victim else joined(data.auxiliary, data.others)
            held_out = data.held_out if of_victim else train.at(np.s_[:0])
            self._known[label] = Known(
                *(self.features(torch.from_numpy(part.inputs[part.labels == label])) for part in (train, held_out))
            )
        return self._known[label]


class Known(NamedTuple):
    """Features of real samples of one class, ``(N, D)``: the victim's training samples, and further ones."""

    train: Tensor
    held_out: Tensor


def class_judges(data: ClassData, seed: int, *, runs: Path | None = None, say: Say = lambda text: None) -> Judges:
    """Train both judges, on the victim's training samples and on samples of the attacker's classes.

    The samples of the attacker's classes are those that the attacker does not hold, so that its own are new to the
    judges as well. Where it holds all of them, as those of other people's faces, judges learn every second one of each
    class: what they say of the attacker's samples is not all by heart then.

    Args:
        data: The classes; the samples are images.
        seed: Seed of weights and of the training.
        runs: Folder of the records, in which trained judges are kept by the content of all samples; None to keep none.
        say: Called when there is work to do.

    Raises:
        ConfigError: The samples are no images, or the victim's training part lacks one of its classes.
    """
    if len(data.train.shape) != 3:
        raise ConfigError(f"Judges look at images (C, H, W), and {data.name} has inputs of shape {data.train.shape}.")
    lacking = [name for label, name in enumerate(data.classes[: data.n_private]) if label not in data.train.labels]
    if lacking:
        raise ConfigError(
            f"A judge must have seen each of the victim's {data.n_private} classes, and the training part of "
            f"{data.name} has no sample of {', '.join(lacking[:5])}; take more of it."
        )
    strangers = data.others
    if not len(strangers) and not data.shared:
        labels = data.auxiliary.labels
        strangers = data.auxiliary.at(np.concatenate([np.flatnonzero(labels == of)[::2] for of in np.unique(labels)]))
    learned = joined(data.train, strangers)
    first, first_right = _judge("convolutional", _convolutional, learned, data, seed, runs, say)
    second, second_right = _judge("fully connected", _connected, learned, data, seed, runs, say)
    return Judges(first, second, (first_right, second_right), data)


def _judge(
    name: str,
    made: Callable[[tuple[int, ...], int], nn.Sequential],
    learned: Dataset,
    data: ClassData,
    seed: int,
    runs: Path | None,
    say: Say,
) -> tuple[Judge, float]:
    classes, device = len(data.classes), pick_device()
    key = hashlib.sha256(repr((name, classes, STEPS, BATCH, seed, learned.shape)).encode())
    key.update(learned.inputs.tobytes() + learned.labels.tobytes())
    digest = key.hexdigest()
    own = int(digest[:8], 16)  # other weights than the victim's, whatever its seed

    def build() -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own)
            return made(learned.shape, classes).eval()

    def train() -> nn.Sequential:
        network = build()
        say(f"training a {name} judge of {classes} classes on {len(learned):,} samples")
        steps = -(-len(learned) // BATCH)

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            return functional.cross_entropy(network(varied(images, rng)).float(), labels)

        training.optimize([network], learned, loss, epochs=max(LEAST, STEPS // steps), seed=own, batch=BATCH)
        return network

    path = runs / "models" / f"judge-{digest[:12]}.safetensors" if runs else None
    network = remembered(path, build, train, say) if path else train()
    body, last = network[:-1].eval().to(device), network[-1].eval().to(device)

    def features(images: Tensor) -> Tensor:
        with torch.inference_mode():
            parts = [body(part.float().to(device)).cpu() for part in images.split(_CHUNK)]
            return torch.cat(parts)

    def logits(features: Tensor) -> Tensor:
        with torch.inference_mode():
            return last(features.to(device)).cpu()  # type: ignore[no-any-return]

    said = logits(features(torch.from_numpy(data.held_out.inputs))).argmax(1).numpy()
    share = float((said == data.held_out.labels).mean())
    title = (
        f"A {name} network that knows {classes} classes, {data.n_private} of them the victim's; it is right about "
        f"{share:.1%} of {len(data.held_out):,} real samples that it has not seen."
    )
    return Judge(title, features, logits), share


def varied(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Turned, scaled and moved a little, of another contrast and brightness, and with noise; ``(N, C, H, W)``.

    A judge sees pictures that no camera has made, and must not rest on what only real ones have.
    """
    n = len(images)

    def between(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, n).astype(np.float32)).to(images.device)

    angle, scale, right, down = between(-0.2, 0.2), between(0.9, 1.1), between(-0.15, 0.15), between(-0.15, 0.15)
    turn = torch.stack(
        [angle.cos() * scale, -angle.sin() * scale, right, angle.sin() * scale, angle.cos() * scale, down]
    )
    grid = functional.affine_grid(turn.T.reshape(n, 2, 3), list(images.shape), align_corners=False)
    moved = functional.grid_sample(images.contiguous(), grid, padding_mode="border", align_corners=False)
    contrast, brightness, noise = (
        between(*ends).view(-1, 1, 1, 1) for ends in ((0.8, 1.2), (-0.1, 0.1), (0, 0.1))
    )  # fmt: skip
    drawn = torch.from_numpy(rng.standard_normal(images.shape, np.float32)).to(images.device)
    mean = moved.mean((1, 2, 3), keepdim=True)
    return ((moved - mean) * contrast + mean + brightness + noise * drawn).clamp(0, 1)


def _convolutional(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = shape[0]
    for out in (16, 32, 64):
        layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if out < 64 else [nn.AdaptiveAvgPool2d(4), nn.Flatten()]
        channels = out
    return nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, classes))


def _connected(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    layers = [nn.Flatten(), nn.Linear(int(np.prod(shape)), 512), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, classes))


def ceiling(data: ClassData, targets: Sequence[int], k: int) -> Tensor:
    """Real samples of the victim's classes that it was not trained on, ``(targets, k or fewer, *input.shape)``.

    There are as many of each class as the one with the fewest has.
    """
    of = [np.flatnonzero(data.held_out.labels == target)[:k] for target in targets]
    fewest = min(map(len, of))
    return torch.stack([torch.from_numpy(data.held_out.inputs[positions[:fewest]]) for positions in of])


def nearest(pictures: Tensor, among: Dataset, judges: Judges) -> Tensor:
    """The position of the sample that is nearest to each picture in the features of the first judge, ``(N,)``."""
    features, others = judges.features(pictures), judges.features(torch.from_numpy(among.inputs))
    return torch.cdist(features, others).argmin(1)


class Chance(NamedTuple):
    """What judges see in pictures of a class that the victim was never trained on.

    Attributes:
        named: Share of the pictures that both judges give to one and the same class of the victim's.
        chance: How often such pictures show a class that is named beforehand.
    """

    named: float
    chance: float


def chance(pictures: Tensor, judges: Judges) -> Chance:
    """What the judges make of an attack's pictures ``(N, *input.shape)`` of the victim's untrained output."""
    first, second = (judge.logits(judge.features(pictures)).argmax(1) for judge in (judges.first, judges.second))
    named = float(((first == second) & (first < judges.data.n_private)).double().mean())
    return Chance(named, named / judges.data.n_private)


def judged(
    pictures: Tensor, targets: Sequence[int], judges: Judges, *, nearest: Tensor | None = None, seed: int = 0
) -> ClassScore:
    """What both judges make of pictures.

    Args:
        pictures: ``(targets, k, *input.shape)``, float, in the range of the inputs. They are judged as they are, not as
            a file of 8 bits would have them.
        targets: The class that each row is to show: one of the victim's, or one of the attacker's as a control, which
            `closed` cannot name.
        judges: The judges.
        nearest: What the floor `nearest-auxiliary` shows of the same victim, the zero of ``distance gain``; without it
            that is NaN.
        seed: Seed of the resampling of the classes.
    """
    rows = [
        _row(shown, target, judges, None if nearest is None else nearest[place])
        for place, (target, shown) in enumerate(zip(targets, pictures, strict=True))
    ]
    by_class = {name: tuple(row[name] for row in rows) for name in MEASURES}
    metrics = {name: bootstrap(np.array(values), seed) for name, values in by_class.items()}
    return ClassScore(tuple(targets), metrics, by_class)


MEASURES = (
    "acc@1", "acc@5", "second", "agreed", "closed", "distance", "distance gain", "nearer",
    "diversity", "real diversity", "kid", "real kid", *Spread._fields, *(f"real {name}" for name in Spread._fields),
)  # fmt: skip
"""Names of what is measured of each class.

acc@1, acc@5
    Share of the pictures in which the first judge sees the class, or has it among its five guesses.
second, agreed
    Share in which the second judge sees it, and in which both do.
closed
    Share in which the first judge sees it if it may name the victim's classes only.
distance
    Mean square distance, in the first judge's features, from the nearest training sample of the class.
distance gain, nearer
    See `cutlayer.metrics.class_level.distance_gain`; and the share of the pictures that are nearer than the attacker's
    own samples are that the victim takes most surely for the class.
diversity, kid, precision, recall, density, coverage
    See `cutlayer.metrics.class_level`; ``real`` ones are those of training samples, and of as many samples of the class
    as there are pictures that the victim was not trained on.
"""


def _row(shown: Tensor, target: int, judges: Judges, nearest: Tensor | None) -> dict[str, float]:
    features, k = judges.features(shown), len(shown)
    logits, second = judges.first.logits(features), judges.second.logits(judges.second.features(shown))
    sees, also = class_level.right(logits, target), class_level.right(second, target)
    known = judges.known(target)
    distances = class_level.squared_distance(features, known.train)
    gain = nearer = float("nan")
    if nearest is not None:
        strange = float(class_level.squared_distance(judges.features(nearest), known.train).mean())
        nearer = _share(distances < strange)
        if len(known.held_out):
            real = float(class_level.squared_distance(known.held_out, known.train).mean())
            gain = class_level.distance_gain(float(distances.mean()), strange, real)
    values = [
        _share(sees), _share(class_level.right(logits, target, 5)), _share(also), _share(sees & also),
        _share(class_level.right_among(logits, target, range(judges.data.n_private))), float(distances.mean()), gain,
        nearer, class_level.diversity(features), class_level.diversity(known.train[:REAL]),
        class_level.kid(features, known.train[:REAL]), class_level.kid(known.held_out[:k], known.train[:REAL]),
        *class_level.spread(features, known.train[:k]), *class_level.spread(known.held_out[:k], known.train[:k]),
    ]  # fmt: skip
    return dict(zip(MEASURES, values, strict=True))


def _share(is_so: Tensor) -> float:
    return float(is_so.double().mean())
