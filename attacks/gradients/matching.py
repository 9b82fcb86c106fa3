"""The one loop of gradient inversion: search samples whose update is like the one that was seen.

    u* = argmin_u  M(G(decode(u), y), g) + sum_r w_r R_r(decode(u))

G is what the client would have sent, M a distance, u the parameters of a prior, y the labels, and R regularisers. Each
part is an option, and each published system a subclass whose defaults are its settings. Threat model: whoever receives
updates and has sent the model; labels are unknown unless `labels` is ``known``.

The least objective alone decides which parameters are kept, and between restarts: nothing here has the clients'
samples. An attacker to whom the view grants the clients' defense computes G with the defense's own map. Independent
problems of the same model and size are one batch (`torch.func.vmap`) where the search is element by element.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack, checked
from cutlayer.attacks.gradients.descent import DIRECTIONS, SCHEDULES, Found, Parameters, adam, cma_es, lbfgs
from cutlayer.attacks.gradients.distances import DISTANCES, layer_weights
from cutlayer.attacks.gradients.labels import LABELS, of_each
from cutlayer.attacks.gradients.objective import JOINT, Match, Problem, Terms, extras
from cutlayer.attacks.gradients.priors import (
    Features,
    GeneratorWeights,
    Latent,
    Network,
    Pixels,
    Prior,
    Table,
    Units,
    trained_generator,
)
from cutlayer.attacks.gradients.update import hides_scale
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.defenses.updates.base import Twin
from cutlayer.errors import ConfigError, near
from cutlayer.options import Count, LearningRate, Size, Weight, Whole

PRIORS = ("pixels", "table", "network", "latent", "generator", "features")
OF_ROWS = ("pixels", "table")
"""Priors that search rows of a table; the others make images."""
LAYERS = ("equal", "rising", "late-first")
ENOUGH = 1e-6
"""L-BFGS does not start again once the objective is this share of that at the start."""
TRIED = 32
"""Other parameters that are tried at a time."""
LOCAL = ("single", "simulate")
OPTIMIZERS = ("adam", "lbfgs", "cma")


@dataclass(kw_only=True)
class Matching(Terms, UpdateAttack):
    """Search samples whose update is like the one that was seen; the terms of the objective are options of `Terms`.

    Args:
        labels: Where the labels come from: a name in `cutlayer.attacks.gradients.labels.LABELS`, ``known`` for those
            that the view grants; ``joint`` searches for soft labels with the samples.
        prior: What is searched: ``pixels`` (the samples, of images or tables); ``table`` (rows, of which each word is
            shares of its flags); ``network`` (the weights of an untrained one); ``latent`` (the latent vectors of a
            generator that is trained on the attacker's own samples); ``generator`` (latent vectors, then the
            generator's weights); ``features`` (latent vectors, then what each layer of the generator passes on).
        standard: Whether pixels are searched in standard units, with the mean and spread of the attacker's samples.
        box: Whether pixels stay within the bounds of samples at each step; otherwise they are clipped at the end.
        denoise: Steps between two median filters of pixels, in the first half of the search; 0 for none.
        optimizer: ``adam``, ``lbfgs``, or ``cma`` (CMA-ES, of the package cma).
        iterations: Iterations of the search.
        lr: Learning rate; the spread of the first candidates of ``cma``.
        direction: What Adam follows: ``gradient``, its ``sign``, or ``quantised`` signs.
        schedule: Learning rate over the iterations: ``constant``, ``steps``, ``cosine``, ``falling`` or ``plateau``.
        noise: Standard deviation of noise on each step of Adam, times the learning rate.
        later_iterations: Iterations for each further stage of a prior; 0 for as many as for the first.
        later_lr: Learning rate in them; 0 for that of the first.
        population: Candidates in an iteration of ``cma``.
        rounds: Updates, one after the other, that are of the same samples; 0 for all. Each gets the same answer.
        together: Updates in a batch; 1 for one by one.
        latent: Length of a latent vector.
        width: Channels of the generator at full resolution.
        prior_steps: Training steps of the generator.
        radius: Bound of the mean absolute change of features.
        widths: Channels of each level of the untrained network.
    """

    plain_words = "changes guessed samples until they would have caused the same update"
    of_sentences: ClassVar[bool] = False
    """Whether rows of tokens are searched, and nothing else."""

    labels: str = "counts"
    prior: str = "pixels"
    standard: bool = True
    box: bool = True
    denoise: Whole = 0
    optimizer: str = "adam"
    iterations: Count = 1000
    lr: LearningRate = 0.1
    direction: str = "sign"
    schedule: str = "steps"
    noise: Weight = 0.0
    later_iterations: Whole = 0
    later_lr: Weight = 0.0
    population: Count = 50
    rounds: Whole = 1
    together: Count = 32
    latent: Size = 64
    width: Size = 16
    prior_steps: Whole = 400
    radius: Weight = 0.1
    widths: tuple[Size, ...] = (16, 32, 64)

    def __post_init__(self) -> None:
        self.widths = tuple(self.widths)  # TOML writes lists
        for option, accepted in (
            ("labels", (JOINT, *LABELS)),
            ("distance", tuple(DISTANCES)),
            ("layers", LAYERS),
            ("prior", PRIORS),
            ("optimizer", OPTIMIZERS),
            ("direction", tuple(DIRECTIONS)),
            ("schedule", tuple(SCHEDULES)),
            ("local", LOCAL),
        ):
            if (given := getattr(self, option)) not in accepted:
                raise ConfigError(f"There is no {option} named {given!r:.80}; {near(str(given), accepted)}")
        if self.group and self.optimizer != "adam":
            raise ConfigError("group compares all restarts at each step, which takes the optimizer adam.")

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base."""
        if view.input.is_tokens and not self.of_sentences:
            raise ConfigError(
                "The inputs are ids of tokens, which do not change by little steps; take an attack on sentences: "
                "dager, tag or lamp."
            )
        pictures = [] if self.prior in OF_ROWS else ["prior"]
        pictures += [option for option in ("tv", "denoise") if getattr(self, option)]
        if len(view.input.shape) != 3 and pictures:
            raise ConfigError(
                f"{pictures[0]} is for images (C, H, W), and the inputs have the shape {view.input.shape}; take "
                "prior = 'pixels' or 'table' with tv = 0 and denoise = 0, or an attack on tables."
            )
        problems = self._problems(view, observations)
        kinds = defaultdict[Hashable, list[Problem]](list)
        for problem in problems:
            kinds[self._kind(view, problem)].append(problem)
        found: dict[int, Recovered] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(view.seed)  # of models that draw as they compute
            for alike in kinds.values():
                for k in range(0, len(alike), self.together):
                    part = alike[k : k + self.together]
                    found |= zip((p.number for p in part), self._solved(view, part), strict=True)
        rounds = self.rounds or len(observations)
        return [found[k - k % rounds] for k in range(len(observations))]

    def _problems(self, view: UpdateView, observations: Sequence[Observation]) -> list[Problem]:
        """What there is to solve: for each set of updates of the same samples, labels and the defense's maps."""
        rounds = self.rounds or len(observations)
        if rounds and len(observations) % rounds:
            raise ConfigError(f"{len(observations)} updates are no whole number of sets of rounds = {rounds}.")
        problems = []
        each = list(of_each(view, observations))
        for k in range(0, len(observations), rounds or 1):
            part = each[k : k + rounds]
            if len({o.samples for _, o in part}) > 1:
                raise ConfigError(
                    f"Updates of {sorted({o.samples for _, o in part})} samples are not of the same samples; "
                    "set rounds = 1 for updates that have nothing to do with each other."
                )
            for _, o in part:
                self._check(checked(o))
            labels = None if self.labels == JOINT else LABELS[self.labels](part[0][1], part[0][0])
            maps = tuple(self._map(view, k + j, o) for j, (_, o) in enumerate(part))
            problems.append(Problem(k, tuple(o for _, o in part), labels, maps))
        return problems

    def _kind(self, view: UpdateView, problem: Problem) -> Hashable:
        """What problems that are solved in one batch have in common."""
        return problem.kind

    def _check(self, observation: Observation) -> None:
        """Refuse what the options cannot explain."""
        if self.local == "simulate" and hides_scale(observation):
            raise ConfigError(
                f"local = 'simulate' repeats steps of SGD, and the update is from steps of {observation.optimizer}, "
                "whose state is not known; take local = 'single', which matches signs then."
            )

    def _map(self, view: UpdateView, number: int, observation: Observation) -> Twin | None:
        """The map of the clients' defense, if the attacker knows it and it acts on updates."""
        if not (self.adaptive and view.knows_defense and view.defense.on):
            return None
        twin = view.defense.twin(observation.update, np.random.default_rng([view.seed, number]))
        if twin is None and view.defense.changes_updates:
            raise ConfigError(
                f"{type(view.defense).__name__} changes updates, and offers no map that an attacker can differentiate "
                "(twin). Write one, or set adaptive = false for an attack that takes no account of the defense."
            )
        return twin

    def _stages(self, view: UpdateView, match: Match) -> Sequence[Prior]:
        """The priors of a search, one after the other."""
        samples = match.problems[0].observations[0].samples
        if self.prior == "pixels":
            shape = (samples, *view.input.shape)
            denoise = self.denoise, self.iterations // 2
            return [Pixels(shape, Units.of(view), standard=self.standard, box=self.box, denoise=denoise)]
        if self.prior == "table":
            return [Table(samples, torch.from_numpy(view.auxiliary.inputs).to(view.device))]
        if self.prior == "network":
            return [Network(samples, view.input.shape, self.widths, view.device)]
        generator = trained_generator(view, self.latent, self.width, self.prior_steps)
        stages: list[Prior] = [Latent(generator, samples, self.latent)]
        if self.prior == "generator":
            stages.append(GeneratorWeights(generator))
        if self.prior == "features":
            layers = list(generator)
            ends = [k + 1 for k, layer in enumerate(layers) if isinstance(layer, nn.ReLU)]
            stages += [Features(layers[a:b], layers[b:], self.radius) for a, b in zip([0, *ends], ends, strict=False)]
        return stages

    def _solved(self, view: UpdateView, problems: Sequence[Problem]) -> list[Recovered]:
        """Solve problems of one kind together."""
        rows = len(problems) * self.restarts
        random = [source(view.seed, p.number, r) for p in problems for r in range(self.restarts)]
        match = Match(self, view, problems)
        found: list[Parameters] = [{} for _ in range(rows)]
        best, least, labels = torch.empty(0), torch.full((rows,), torch.inf, device=view.device), torch.empty(0)
        for number, prior in enumerate(self._stages(view, match)):
            extra = [match.extra(source) if not number else extras(u) for u, source in zip(found, random, strict=True)]
            begins = [prior.begin(u, s) | e for u, s, e in zip(found, random, extra, strict=True)]
            start = {name: torch.stack([u[name] for u in begins]) for name in begins[0]}
            result = self._search(match, prior, start, random, view.seed, later=number > 0)
            x, y = match.decoded(prior, result.parameters)
            better = result.objective <= least
            best = torch.where(better.view(-1, *[1] * (x.ndim - 1)), x, best) if best.numel() else x
            labels = torch.where(better.view(-1, 1), y, labels) if labels.numel() else y
            least = torch.minimum(least, result.objective)
            found = [{name: value[row] for name, value in result.parameters.items()} for row in range(rows)]
        shape = len(problems), self.restarts
        each = zip(best.unflatten(0, shape), labels.unflatten(0, shape), least.view(shape), strict=True)
        return [self._chosen(view, x, y, objective) for x, y, objective in each]

    def _chosen(self, view: UpdateView, samples: Tensor, labels: Tensor, objective: Tensor) -> Recovered:
        """What all restarts of one problem come to: ``(restarts, B, ...)`` each, and the objective of each restart."""
        best = int(objective.nan_to_num(torch.inf).argmin())
        low, high = view.input.low, view.input.high
        images = samples[best].clamp(low, high) if low is not None or high is not None else samples[best]
        return Recovered(images.nan_to_num(0).cpu(), labels[best].cpu())

    def _search(
        self, match: Match, prior: Prior, start: Parameters, random: list[torch.Generator], seed: int, *, later: bool
    ) -> Found:
        """Search from `start` with the optimizer."""
        iterations = self.later_iterations if later and self.later_iterations else self.iterations
        lr = self.later_lr if later and self.later_lr else self.lr
        rows = [k for k in range(len(match.problems)) for _ in range(self.restarts)]

        def rearrange(parameters: Parameters) -> None:
            def trial(k: int, others: Parameters) -> Tensor:
                n = len(next(iter(others.values())))
                whole = {name: value[k].expand(n, *value.shape[1:]) for name, value in parameters.items()} | others
                parts = [range(a, min(a + TRIED, n)) for a in range(0, n, TRIED)]
                with torch.no_grad():
                    values = [
                        match.objective(prior, [rows[k]] * len(part))(
                            {name: value[part.start : part.stop] for name, value in whole.items()}, 1.0
                        )
                        for part in parts
                    ]
                return torch.cat(values)

            prior.rearrange(parameters, random, trial)

        def project(parameters: Parameters) -> None:
            prior.project(parameters)
            match.project(parameters)
            rearrange(parameters)

        rearrange(start)
        if self.optimizer == "adam" or (self.optimizer == "cma" and later):
            return adam(
                match.objective(prior, rows),
                start,
                fixed=prior.fixed,
                iterations=iterations,
                lr=lr,
                direction=self.direction,
                schedule=self.schedule,
                noise=self.noise,
                project=project,
                era=self._era,
                random=random,
            )
        found = list[Found]()
        for k, row in enumerate(rows):
            one = {name: value[k : k + 1] for name, value in start.items()}
            if self.optimizer == "lbfgs":
                objective = match.objective(prior, [row])
                with torch.no_grad():
                    first = objective(one, 0.0)
                if k % self.restarts and found[-1].objective <= ENOUGH * first:
                    found.append(found[-1])
                    continue
                found.append(lbfgs(objective, one, fixed=prior.fixed, iterations=iterations, lr=lr))
            else:
                objective = match.objective(prior, [row] * self.population)
                sizes = {"iterations": iterations, "population": self.population, "seed": seed + k}
                found.append(cma_es(objective, one, fixed=prior.fixed, sigma=lr, **sizes))
        parameters = {name: torch.cat([f.parameters[name] for f in found]) for name in start}
        return Found(parameters, torch.cat([f.objective for f in found]))

    def _era(self, done: float) -> Hashable:
        """What the scale of the objective depends on."""
        return done >= self.tv_from, done >= self.bn_from, tuple(layer_weights(self.layers, 100, done))


def source(seed: int, problem: int, restart: int) -> torch.Generator:
    """The draws of one search, the same in whatever batch it is."""
    state = np.random.SeedSequence([seed, problem, restart]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))
