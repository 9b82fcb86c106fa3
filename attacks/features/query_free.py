"""Query-free: a shadow of the head, trained through the server's own tail, takes the place of the head.

    g* = argmin  CE(tail(g(x)), y)  +  match * mismatch(g(x), v),        then any attack, on g* in place of the head

Zecheng He, Tianwei Zhang, Ruby B. Lee. Model Inversion Attacks Against Collaborative Inference, ACSAC 2019, section
4.3; code github.com/zechenghe/Inverse_Collaborative_Inference @f010aed. Threat model: the server, which holds the tail
and labelled images of its own, and knows neither the head nor an answer to any query.

Differs from the paper:

- The shadow is matched to what arrived. The server receives smashed data v of many requests and its tail says their
  classes, so the shadow's features of the attacker's own images must have the same mean, variance, covariance between
  channels and neighbors, and the same mean within each class. That last condition nearly pins a shallow head down: the
  mean picture of each class is known. So the shadow is trained in `invert`, from the batch that has arrived.
- A shadow that is wrong distorts its pictures, and nobody can tell by one of them. The attack compares their mean
  within each class of what arrived with the mean picture of the class: the factor that brings the first nearest to the
  second is applied to each picture's distance from the mean of its class. Where the two are not alike, or too few
  requests arrived to tell, the answer is the mean picture of the classes that the tail names, and where the tail says
  the same of all, it is the mean image.
- Adam on batches of 256 with a one-cycle learning rate (theirs: 1e-3, halved every 5 epochs).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import Access, View
from cutlayer.attacks.wrapping import Wrapping, rebuilding
from cutlayer.data.splits import NO_CLASS
from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError
from cutlayer.machine.compute import autocast
from cutlayer.nets.shadow import build, parse
from cutlayer.options import Batch, Count, LearningRate, Weight, Whole
from cutlayer.progress import note, track

FEWEST = 32
"""Requests that must have arrived before the shadow can be matched to them and judged by them."""
ALIKE = 0.3
"""Least correlation of the class means of the reconstructions with those of the attacker's images."""
MOST_CHANNELS = 1024
"""Number of channels above which their covariance is not compared."""
SEARCH = {"lr": (0.1,), "tv": (2.0,), "iterations": 300}
"""Options of white-box unless others are stated: a single setting, because a rehearsal on the shadow does not know that
the shadow is wrong, and smooths too little (He et al.: weight 2, learning rate 0.1)."""


@dataclass(kw_only=True)
class QueryFree(Wrapping):
    """Train a shadow head behind which the tail answers as it should, and invert the shadow.

    Args:
        attack: Name of the attack that is run on the shadow.
        options: Its options; None for its defaults, or for a smooth search where it is white-box.
        shadow: Layers of the shadow in the notation of He et al., such as ``3x3x64+3x3x64+p+3x3x128``: convolutions
            with a ReLU between them, ``p`` halves the sides. Empty: two convolutions at each size.
        match: Weight of the mismatch with what arrived; 0 for the method of the paper.
        epochs: Passes over the attacker's images.
        lr: Adam's learning rate at its highest.
        batch: Images in a step; the class means of a batch should mean something.
        n_auxiliary: Images used; 0 for all that the attacker has.
    """

    plain_words = "imitates the device's half of the model by means of the server's half, and inverts the imitation"
    rebuilds = ("image",)
    needs = Access.QUERY_FREE
    steps_option = "epochs"
    least_steps = 2

    attack: str = "white-box"
    shadow: str = ""
    match: Weight = 1.0
    epochs: Count = 20
    lr: LearningRate = 1e-2
    batch: Batch = 256
    n_auxiliary: Whole = 0

    def __post_init__(self) -> None:
        parse(self.shadow)
        if self.attack == "query-free":
            raise ConfigError("query-free cannot run 'query-free' on its shadow; name an attack that needs the head.")
        super().__post_init__()
        self.n_releases = 1  # each release is inverted by itself

    def another(self) -> Attack:
        """The attack to run on the shadow."""
        return rebuilding(self.attack, **(self.options or (SEARCH if self.attack == "white-box" else {})))

    @property
    def keeps_apart(self) -> bool:
        """No: the shadow learns from all images."""
        return False

    def fit(self, view: View) -> None:
        """Take the tail, the attacker's labelled images, and the mean image of each class."""
        self._view, self._tail = view, copy.deepcopy(view.tail).to(view.device).eval().requires_grad_(False)
        order = torch.randperm(len(view.auxiliary), generator=torch.Generator().manual_seed(view.seed))
        own = view.auxiliary.at(order[: self.n_auxiliary or len(order)].numpy())
        if (own.labels == NO_CLASS).any():
            raise ConfigError("query-free needs the classes of the attacker's images, and there are some without.")
        self._images, self._labels = (torch.from_numpy(part).to(view.device) for part in (own.inputs, own.labels))
        self._mean, self._last = self._images.mean(dim=0), (torch.empty(0), torch.empty(0))

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``; the shadow is matched to these."""
        before, images = self._last  # those are asked for again, to identify the inputs by
        if before.shape != smashed.shape or not torch.equal(before, smashed):
            images = self._rebuilt(smashed.to(self._view.device)).to(smashed)
            self._last = smashed.clone(), images
        return images.clone()

    def _rebuilt(self, arrived: Tensor) -> Tensor:
        says = self._says(arrived)
        classes = one_hot(self._labels, says.shape[1]).float()
        # Of the means of the classes, minus the mean image; 0 for a class of which the attacker has no image.
        centered = (self._images - self._mean).flatten(1)
        means = (classes.T @ centered) / classes.sum(dim=0).clamp(min=1)[:, None]
        guess = (says - says.mean(dim=0)) @ means
        if len(arrived) >= FEWEST:
            shadow = self._shadow(arrived, says, classes)
            self._inner.fit(self._shadowed(shadow))
            found = self._inner.invert(arrived).flatten(1)
            guess = guess + _within(found, says, means)
        images = (self._mean.flatten() + guess).clamp(0, 1)
        return images.reshape(len(arrived), *self._mean.shape)

    def _says(self, smashed: Tensor) -> Tensor:
        """The probabilities of the classes, ``(N, classes)``, that the tail gives to smashed data."""
        logits = _logits(self._tail, smashed, self.batch)
        if logits.ndim != 2 or logits.shape[1] <= int(self._labels.max()):
            raise ConfigError(
                f"query-free needs a tail that answers with a number for each class; this one gives "
                f"{tuple(logits.shape[1:])} for {int(self._labels.max()) + 1} classes."
            )
        return logits.softmax(dim=1).clone()

    def _shadow(self, arrived: Tensor, says: Tensor, classes: Tensor) -> nn.Module:
        """The shadow, trained on the attacker's images and matched to what arrived."""
        wanted = _statistics(arrived, says)

        def loss(features: Tensor, logits: Tensor | None, rows: Tensor) -> Tensor:
            assert logits is not None
            total = cross_entropy(logits, self._labels[rows])
            if self.match:
                total = total + self.match * _mismatch(_statistics(features, classes[rows]), wanted)
            return total

        return _fitted(
            self.shadow, self._images, self._tail, arrived, loss, epochs=self.epochs, lr=self.lr, batch=self.batch,
            seed=self._view.seed,
        )  # fmt: skip

    def _shadowed(self, shadow: nn.Module) -> View:
        """What the attacker may touch when the shadow takes the place of the head, without a defense."""

        def query(images: Tensor) -> Tensor:
            with torch.inference_mode():
                return torch.Tensor(shadow(images.to(self._view.device)).to(images.device).clone())

        return replace(
            self._view,
            access=Access.WHITE_BOX,
            random=False,
            _head=shadow,
            _query=query,
            _defense=Defense(),
            _kept={},
        )


def shadow_of(
    images: Tensor, arrived: Tensor, tail: nn.Module, seed: int, *, labels: Tensor | None = None, steps: int = 400
) -> nn.Module:
    """A shadow of the head behind smashed data that arrived, for an attacker that holds the tail.

    It is matched as that of `QueryFree` where the attacker's labels are classes of the tail. Where they are not, only
    the statistics of all smashed data together can be matched, which leaves far more open.

    Args:
        images: The attacker's own, ``(N, *input.shape)``.
        arrived: ``(M, *smashed.shape)``, what arrived of other inputs, at least `FEWEST`.
        tail: The server's half.
        seed: Seed of the shadow and of the batches.
        labels: ``(N,)``: the classes of the images by the numbers of the tail; None where it does not know them.
        steps: Steps of the training, in whole passes over the images.
    """
    tail = copy.deepcopy(tail).to(images.device).eval().requires_grad_(False)
    says = None if labels is None else _logits(tail, arrived, QueryFree.batch).softmax(dim=1).clone()
    wanted = _statistics(arrived, says)

    def loss(features: Tensor, logits: Tensor | None, rows: Tensor) -> Tensor:
        if labels is None or logits is None:
            return _mismatch(_statistics(features, None), wanted)
        classes = one_hot(labels[rows], logits.shape[1]).float()
        return _mismatch(_statistics(features, classes), wanted) + cross_entropy(logits, labels[rows])

    epochs = -(-steps // -(-len(images) // QueryFree.batch))
    return _fitted(
        QueryFree.shadow,
        images,
        None if labels is None else tail,
        arrived,
        loss,
        epochs=epochs,
        lr=QueryFree.lr,
        batch=QueryFree.batch,
        seed=seed,
    )


def _logits(tail: nn.Module, smashed: Tensor, batch: int) -> Tensor:
    with torch.inference_mode():
        return torch.cat([tail(part) for part in torch.split(smashed, batch)])


def _fitted(
    layers: str,
    images: Tensor,
    tail: nn.Module | None,
    arrived: Tensor,
    loss: Callable[[Tensor, Tensor | None, Tensor], Tensor],
    *,
    epochs: int,
    lr: float,
    batch: int,
    seed: int,
) -> nn.Module:
    """A shadow that minimizes a loss of its features, of a tail's logits for them, and of the rows of a batch."""
    device, generator = images.device, torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else [], device_type="cuda"):
        torch.manual_seed(seed)
        shadow = build(layers, tuple(images.shape[1:]), tuple(arrived.shape[1:]), positive=bool((arrived >= 0).all()))
    shadow.to(device)
    steps = -(-len(images) // batch)
    optimizer = torch.optim.Adam(shadow.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * steps)
    for _ in track(range(epochs), "training the shadow"):
        for rows in torch.randperm(len(images), generator=generator).to(device).chunk(steps):
            with autocast(device):
                features = shadow(images[rows])
                logits = None if tail is None else tail(features)
            lost = loss(features.float(), None if logits is None else logits.float(), rows)
            optimizer.zero_grad(set_to_none=True)
            lost.backward()
            optimizer.step()
            schedule.step()
        note(f"loss {lost.item():.3f}")
    return shadow.eval().requires_grad_(False)


def _within(found: Tensor, says: Tensor, means: Tensor) -> Tensor:
    """How far each reconstruction ``(N, pixels)`` lies from the mean of its class, as far as the classes bear it out.

    Args:
        found: The reconstructions.
        says: ``(N, classes)``, the probabilities of their classes.
        means: ``(classes, pixels)``, the true mean image of each class minus that of all.
    """
    weights = says.sum(dim=0)
    found_means = (says.T @ found) / weights.clamp(min=1e-6)[:, None]
    away = found_means - (weights[:, None] * found_means).sum(dim=0) / weights.sum()
    together, own, true = ((weights[:, None] * pair).sum() for pair in (away * means, away * away, means * means))
    if together <= ALIKE * (own * true).sqrt() or own == 0:
        return torch.zeros_like(found)
    return (together / own).clamp(max=1) * (found - says @ found_means)


Statistics = dict[str, Tensor]


def _statistics(smashed: Tensor, classes: Tensor | None) -> Statistics:
    """What is compared of smashed data ``(N, *shape)``, and of what the tail says of it, ``(N, classes)``, if known."""
    grid = smashed if smashed.ndim == 4 else smashed.flatten(1)[..., None, None]
    mean = grid.mean(dim=0)
    statistics = {"mean": mean, "variance": grid.var(dim=0)}
    if classes is not None:
        weights = classes.sum(dim=0)
        within = (classes.T @ (grid - mean).flatten(1)) / weights.clamp(min=1)[:, None]
        statistics["classes"] = within * (weights / weights.sum()).sqrt()[:, None]
    if grid.shape[1] <= MOST_CHANNELS:
        away = grid - mean
        shifts = {"channels": (away, away), "below": (away[:, :, :-1], away[:, :, 1:])}
        shifts["right"] = away[..., :-1], away[..., 1:]
        for name, (a, b) in shifts.items():
            if a.numel():
                a, b = (part.movedim(1, 0).flatten(1) for part in (a, b))
                statistics[name] = a @ b.T / a.shape[1]
    return statistics


def _mismatch(of: Statistics, wanted: Statistics) -> Tensor:
    """Squared distances of the statistics, in units of what was wanted; the means of the classes count three times."""
    scale = {name: value.square().mean().clamp(min=1e-12) for name, value in wanted.items()}
    scale["mean"] = wanted["variance"].mean().clamp(min=1e-12)
    parts = {name: (of[name] - value).square().mean() / scale[name] for name, value in wanted.items()}
    return torch.stack([part * (3 if name == "classes" else 1) for name, part in parts.items()]).sum()
