"""What a search of gradient inversion makes as small as it can: the objective of problems of one kind."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional

from cutlayer.attacks.gradients import regularisers
from cutlayer.attacks.gradients.descent import Objective, Parameters
from cutlayer.attacks.gradients.distances import DISTANCES, layer_weights
from cutlayer.attacks.gradients.priors import Prior, Units
from cutlayer.attacks.gradients.replay import Mixed, Replay
from cutlayer.attacks.gradients.update import as_gradient, hides_scale
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.defenses.updates.base import Twin
from cutlayer.options import Count, Share, Weight

JOINT = "joint"
"""Name of the labels that are searched with the samples."""
_LABELS, _MASK = "labels", "mask."


class Problem(NamedTuple):
    """The updates of one batch of samples: one, or those of several rounds.

    Attributes:
        number: Position of the first of the updates among all.
        observations: The updates.
        labels: ``(B,)`` int64; None where they are searched for with the samples.
        maps: The defense's map for each update; None where there is none.
    """

    number: int
    observations: tuple[Observation, ...]
    labels: Tensor | None
    maps: tuple[Twin | None, ...]

    @property
    def kind(self) -> Hashable:
        """What problems that are solved in one batch have in common."""
        return tuple(
            (id(o.model), o.samples, o.local_steps, o.batch, o.lr, o.optimizer, o.eval_mode) for o in self.observations
        )


@dataclass(kw_only=True)
class Terms:
    """The options of the objective; all but the distance are left out with a weight of 0.

    Args:
        distance: See `cutlayer.attacks.gradients.distances.DISTANCES`. Of an update whose size is hidden, as by Adam,
            only signs can be matched, and ``signs`` takes its place.
        layers: Weights of the layers in the distance, ``equal``, ``rising`` or ``late-first``.
        scale: Factor of the distance.
        tv: Weight of total variation, in standard units as all regularisers.
        tv_from: Share of the iterations after which it counts.
        l2: Weight of half the mean square.
        bn: Weight of the distance to the running statistics of batch normalizations, which count where there are any.
        bn_from: Share of the iterations after which it counts.
        bn_first: Factor for the first of them.
        group: Weight of the distance to the mean of all restarts.
        likely: Weight of the prior's own penalty of unlikely parameters.
        masks: Whether the masks of dropout are searched too, where the client computed with dropout.
        mask_rate: Weight of the distance between the share of zeros in the masks and the rate of dropout.
        local: How a change of weights by local steps is explained: as one gradient of all samples (``single``), or by
            repeating the steps (``simulate``), whose batches are taken in the order of the labels.
        restarts: Searches for each update; that of the least objective is taken.
        adaptive: Whether a defense that the view grants is taken into account.
    """

    distance: str = "cosine"
    layers: str = "equal"
    scale: Weight = 1.0
    tv: Weight = 0.0
    tv_from: Share = 0.0
    l2: Weight = 0.0
    bn: Weight = 0.0
    bn_from: Share = 0.0
    bn_first: Weight = 10.0
    group: Weight = 0.0
    likely: Weight = 0.0
    masks: bool = False
    mask_rate: Weight = 0.0
    local: str = "single"
    restarts: Count = 1
    adaptive: bool = True


class Match:
    """The objective of problems of one kind, for a prior and rows of parameters.

    Args:
        terms: The options.
        view: What the attacker may touch.
        problems: Problems of one kind; see `Problem.kind`.
    """

    def __init__(self, terms: Terms, view: UpdateView, problems: Sequence[Problem]) -> None:
        self._terms, self._view, self.problems = terms, view, tuple(problems)
        self._units = None if view.input.is_tokens else Units.of(view)
        kind, device = problems[0], view.device
        simulate, mixed = terms.local == "simulate", self._mixed(view)
        self._replays = [
            Replay(
                o,
                device,
                simulate=simulate and o.local_steps > 0,
                masks=terms.masks,
                mixed=mixed,
                embedded=view.input.is_tokens,
            )
            for o in kind.observations
        ]
        self._hidden = [hides_scale(o) for o in kind.observations]
        self._seen = []
        for k, replay in enumerate(self._replays):
            targets = [self._target(p.observations[k]) for p in problems]
            self._seen.append({name: torch.stack([t[name] for t in targets]).to(device) for name in replay.names})
        self._sent = [self._factor(o) for o in kind.observations]
        self._maps = [[p.maps[k] for p in problems] for k in range(len(self._replays))]
        self._labels = None
        if kind.labels is not None:
            classes = torch.stack([p.labels for p in problems if p.labels is not None]).to(device)
            self._labels = functional.one_hot(classes, view.classes).float()
        self._samples = kind.observations[0].samples
        self._dropouts = self._shapes()

    def extra(self, random: torch.Generator) -> Parameters:
        """The first values of what is searched beside the samples of one problem: labels and masks of dropout."""
        extra: Parameters = {}
        if self._labels is None:
            drawn = torch.randn(self._samples, self._view.classes, generator=random)
            extra[_LABELS] = drawn.to(self._view.device)
        for name, (shape, rate) in self._dropouts.items():
            mask = torch.rand(self._samples, *shape, generator=random) >= rate
            extra[_MASK + name] = mask.float().to(self._view.device)
        return extra

    def project(self, parameters: Parameters) -> None:
        """Bring the masks back into [0, 1], in place."""
        parameters |= {name: value.clamp(0, 1) for name, value in parameters.items() if name.startswith(_MASK)}

    def decoded(self, prior: Prior, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """The samples ``(P, B, *input.shape)`` and labels ``(P, B)`` of parameters."""
        with torch.no_grad():
            rows = range(len(next(iter(parameters.values()))))
            x = torch.stack([prior.read({n: v[k] for n, v in _own(parameters).items()}) for k in rows])
        if self._labels is not None:
            every = self._labels.repeat_interleave(self._terms.restarts, 0).argmax(2)
            return x, every
        return x, parameters[_LABELS].argmax(2)

    def objective(self, prior: Prior, rows: Sequence[int]) -> Objective:
        """The objective as a function of parameters, whose rows belong to these problems."""
        terms, index = self._terms, torch.as_tensor(rows, device=self._view.device)
        seen = [{name: value[index] for name, value in update.items()} for update in self._seen]
        known = None if self._labels is None else self._labels[index]

        def value(parameters: Parameters, done: float) -> Tensor:
            x = _each(prior.decode, _own(parameters))
            y = known if known is not None else parameters[_LABELS].softmax(2)
            masks = {n.removeprefix(_MASK): v for n, v in parameters.items() if n.startswith(_MASK)}
            total: Tensor = x.new_zeros(len(rows))
            for k, replay in enumerate(self._replays):
                made = _each(replay, x, y, masks)
                if any(self._maps[k]):
                    made = _mapped(made, [self._maps[k][row] for row in rows], self._sent[k])
                total += terms.scale * self._distances(k, made, seen[k], done)
            return total + self._beliefs(prior, parameters, x, masks, done)

        return value

    def _distances(self, k: int, made: Mapping[str, Tensor], seen: Mapping[str, Tensor], done: float) -> Tensor:
        """The distance of each row, ``(P,)``."""
        names = self._replays[k].names
        weights = torch.tensor(layer_weights(self._terms.layers, len(names), done), device=self._view.device)
        distance = DISTANCES["signs" if self._hidden[k] else self._terms.distance]
        pairs = [made[name] for name in names], [seen[name] for name in names]
        distances: Tensor = _each(lambda a, b: distance(a, b, weights), *pairs)
        return distances

    def _beliefs(
        self, prior: Prior, parameters: Parameters, x: Tensor, masks: Mapping[str, Tensor], done: float
    ) -> Tensor:
        """The terms beside the distance, ``(P,)``."""
        terms, total = self._terms, x.new_zeros(len(x))
        standard = x if self._units is None else self._units.standard(x)
        if terms.tv and done >= terms.tv_from:
            total = total + terms.tv * regularisers.total_variation(standard)
        if terms.l2:
            total = total + terms.l2 * regularisers.half_square(standard)
        if terms.group and terms.restarts > 1:
            total = total + terms.group * regularisers.group(standard, terms.restarts)
        if terms.bn and done >= terms.bn_from:
            total = total + terms.bn * _each(lambda one: self._replays[-1].statistics(one, terms.bn_first), x)
        if terms.likely:
            total = total + terms.likely * _each(prior.penalty, _own(parameters))
        if terms.mask_rate:
            for name, mask in masks.items():
                gap = (1 - mask.flatten(1).mean(1) - self._dropouts[name][1]).abs()
                total = total + terms.mask_rate * gap
        return total

    def _target(self, observation: Observation) -> Mapping[str, Tensor]:
        if self._terms.local == "simulate" and observation.local_steps:
            return observation.update
        return as_gradient(observation)

    def _factor(self, observation: Observation) -> float:
        """What makes of the computed update one as it is sent, which is what the map of a defense takes."""
        if self._terms.local == "simulate" or not observation.local_steps:
            return 1.0
        return -observation.lr * observation.local_steps or -1.0

    def _mixed(self, view: UpdateView) -> Mixed | None:
        """What the clients' defense makes of samples, if the attacker knows it."""
        if self._terms.adaptive and view.knows_defense and view.defense.on:
            return view.defense.augment_twin
        return None

    def _shapes(self) -> dict[str, tuple[tuple[int, ...], float]]:
        """The shape of what each dropout of the model gets for one sample, and its rate."""
        if not self._replays[0].dropouts:
            return {}
        return self._replays[0].dropout_shapes(torch.zeros(1, *self._view.input.shape, device=self._view.device))


def _each(function: Callable[..., Any], *arguments: Any) -> Any:
    """Apply a function to each row of stacked arguments; a single row without the cost of vmap."""
    tensors = torch.utils._pytree.tree_leaves(arguments)
    if len(tensors[0]) == 1:
        one = torch.utils._pytree.tree_map(lambda t: t[0], arguments)
        return torch.utils._pytree.tree_map(lambda t: t[None], function(*one))
    return vmap(function, randomness="different")(*arguments)


def _mapped(made: Mapping[str, Tensor], maps: Sequence[Twin | None], sent: float) -> dict[str, Tensor]:
    """Each row of stacked updates through its own map, times `sent` on the way in and divided by it on the way out."""
    rows = [{name: value[k] for name, value in made.items()} for k in range(len(maps))]
    mapped = [_through(twin, row, sent) if twin is not None else row for twin, row in zip(maps, rows, strict=True)]
    return {name: torch.stack([row[name] for row in mapped]) for name in made}


def _through(twin: Twin, update: Mapping[str, Tensor], sent: float) -> dict[str, Tensor]:
    if sent == 1:
        return twin(update)
    return {name: value / sent for name, value in twin({name: value * sent for name, value in update.items()}).items()}


def _own(parameters: Parameters) -> Parameters:
    """The parameters of the prior."""
    extra = extras(parameters)
    return {name: value for name, value in parameters.items() if name not in extra}


def extras(parameters: Parameters) -> Parameters:
    """Labels and masks of dropout among the parameters."""
    return {name: value for name, value in parameters.items() if name == _LABELS or name.startswith(_MASK)}
