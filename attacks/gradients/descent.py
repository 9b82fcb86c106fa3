"""Searches for the parameters of the least objective; each returns the parameters that had it.

Parameters are tensors by name, ``(P, ...)`` for P independent problems, and the objective gives ``(P,)``. A search does
not know what its problems are about: it sees their objectives and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cutlayer.errors import ConfigError, missing_package
from cutlayer.progress import note, track

Parameters = dict[str, Tensor]
Objective = Callable[[Parameters, float], Tensor]
"""Parameters, and the share of the steps that are done, to the objective of each problem, ``(P,)``."""

BETAS, EPSILON = (0.9, 0.999), 1e-8
PATIENCE, WARM_UP, LOUD = 800, 50, 100
"""Steps without a better objective before the plateau schedule lowers the rate (DIA); steps in which the cosine
schedule rises (GradInversion); first steps in which quantised signs are doubled (HF-GradInv)."""
BUDGET, PATIENT, GAIN = 20, 5, 0.2
"""Evaluations in each iteration of L-BFGS (DLG); it ends where so many iterations lower the objective by less than this
share, as where it has converged, and where it is lost on a plateau."""


class Found(NamedTuple):
    """What a search has found.

    Attributes:
        parameters: For each problem the parameters of the least objective.
        objective: That objective, ``(P,)``.
    """

    parameters: Parameters
    objective: Tensor


class _Best:
    """The parameters of the least objective so far, problem by problem."""

    def __init__(self, start: Parameters) -> None:
        self.found = {name: value.detach().clone() for name, value in start.items()}
        first = next(iter(start.values()))
        self.least = torch.full((len(first),), torch.inf, device=first.device)
        self.since = torch.zeros(len(first), device=first.device)
        """Steps since the objective was the least."""

    def take(self, parameters: Parameters, objective: Tensor) -> None:
        """Keep parameters where their own objective is less than before; that of NaN is not."""
        better = objective.detach() < self.least
        self.since = torch.where(better, 0, self.since + 1)
        self.least = torch.where(better, objective.detach(), self.least)
        for name, value in parameters.items():
            self.found[name] = torch.where(_wide(better, value), value.detach(), self.found[name])

    def forget(self) -> None:
        """Begin anew, because objectives from here on are of another scale."""
        self.least.fill_(torch.inf)


def _constant(step: int, steps: int) -> float:
    return 1.0


def _steps(step: int, steps: int) -> float:
    return float(0.1 ** sum(step >= steps * k / 8 for k in (3, 5, 7)))


def _cosine(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _falling(step: int, steps: int) -> float:
    return float(0.89 ** (40 * step // steps))


SCHEDULES: Mapping[str, Callable[[int, int], float]] = MappingProxyType(
    {"constant": _constant, "steps": _steps, "cosine": _cosine, "falling": _falling, "plateau": _constant}
)
"""Factor of the learning rate at a step: ``falling`` has 40 stairs (LAMP); ``plateau`` lowers it for each problem by
itself."""


def _quantised(gradient: Tensor, step: int) -> Tensor:
    """0.8 * clip(round(2 g / median)/2, -1, 1) + 0.2 * sign(g), doubled in the first steps (HF-GradInv)."""
    median = gradient.abs().flatten(1).median(1).values
    share = (2 * gradient / _wide(median, gradient).clamp(min=1e-20)).round().clamp(-2, 2) / 2
    return (0.8 * share + 0.2 * gradient.sign()) * (2 if step < LOUD else 1)


DIRECTIONS: Mapping[str, Callable[[Tensor, int], Tensor]] = MappingProxyType(
    {"gradient": lambda g, step: g, "sign": lambda g, step: g.sign(), "quantised": _quantised}
)
"""What Adam is given in place of the gradient, ``(P, ...)`` at a step."""


def adam(
    objective: Objective,
    start: Parameters,
    *,
    fixed: frozenset[str],
    iterations: int,
    lr: float,
    direction: str,
    schedule: str,
    noise: float,
    project: Callable[[Parameters], None],
    era: Callable[[float], Hashable],
    random: Sequence[torch.Generator],
) -> Found:
    """Adam, element by element, so that each problem develops as it would alone.

    Args:
        objective: See `Objective`.
        start: Parameters at first.
        fixed: Names of parameters that stay.
        iterations: Number of steps.
        lr: Learning rate.
        direction: See `DIRECTIONS`.
        schedule: See `SCHEDULES`.
        noise: Standard deviation of normal noise that is added with each step, times the learning rate (Langevin).
        project: Brings parameters back into their bounds, in place.
        era: What the scale of the objective depends on, by the share of steps done; where it changes, the least
            objective is searched anew.
        random: Source of noise for each problem.
    """
    parameters = {name: value.detach().clone() for name, value in start.items()}
    free = [name for name in parameters if name not in fixed]
    means = {name: torch.zeros_like(parameters[name]) for name in free}
    squares = {name: torch.zeros_like(parameters[name]) for name in free}
    best, current = _Best(parameters), era(0.0)
    factors = torch.ones_like(best.least)
    for step in track(range(iterations), "matching updates"):
        done = step / iterations
        if (now := era(done)) != current:
            best.forget()
            current = now
        for name in free:
            parameters[name].requires_grad_()
        value = objective(parameters, done)
        gradients = torch.autograd.grad(value.sum(), [parameters[name] for name in free])
        parameters = {name: p.detach() for name, p in parameters.items()}
        best.take(parameters, value)
        note(f"objective {best.least.mean():.3g}")
        if schedule == "plateau":
            factors = torch.where(best.since >= PATIENCE, factors * 0.1, factors)
            best.since = torch.where(best.since >= PATIENCE, 0, best.since)
        rates = lr * SCHEDULES[schedule](step, iterations) * factors
        for name, gradient in zip(free, gradients, strict=True):
            given = DIRECTIONS[direction](gradient.nan_to_num(0, 0, 0), step)
            means[name].lerp_(given, 1 - BETAS[0])
            squares[name].lerp_(given.square(), 1 - BETAS[1])
            scale = (squares[name] / (1 - BETAS[1] ** (step + 1))).sqrt_().add_(EPSILON)
            rate = _wide(rates, gradient)
            parameters[name] = parameters[name] - rate * (means[name] / (1 - BETAS[0] ** (step + 1))) / scale
            if noise:
                drawn = [torch.randn(gradient.shape[1:], generator=source) for source in random]
                parameters[name] += noise * rate * torch.stack(drawn).to(gradient)
        project(parameters)
    return Found(best.found, best.least)


def lbfgs(objective: Objective, start: Parameters, *, fixed: frozenset[str], iterations: int, lr: float) -> Found:
    """L-BFGS of torch without a line search, for one problem: each iteration has up to 20 evaluations, as in DLG."""
    parameters = {name: value.detach().clone() for name, value in start.items()}
    free = [name for name in parameters if name not in fixed]
    for name in free:
        parameters[name].requires_grad_()
    optimizer = torch.optim.LBFGS([parameters[name] for name in free], lr=lr, max_iter=BUDGET)
    best, reached = _Best(parameters), list[float]()
    for step in track(range(iterations), "matching updates"):

        def closure(done: float = step / iterations) -> Tensor:
            optimizer.zero_grad()
            value = objective(parameters, done)
            best.take(parameters, value)
            total = value.sum()
            total.backward(inputs=[parameters[name] for name in free])
            return total

        value = torch.as_tensor(optimizer.step(closure))
        note(f"objective {best.least.mean():.3g}")
        reached.append(float(best.least))
        if not value.isfinite() or (step >= PATIENT and reached[-1] > (1 - GAIN) * reached[-1 - PATIENT]):
            break
    return Found(best.found, best.least)


def cma_es(
    objective: Objective,
    start: Parameters,
    *,
    fixed: frozenset[str],
    iterations: int,
    population: int,
    sigma: float,
    seed: int,
) -> Found:
    """CMA-ES, which needs no gradient, for one problem.

    Args:
        objective: Takes `population` problems at once.
        start: Parameters at first, of one problem.
        iterations: Number of generations.
        population: Candidates in each generation.
        fixed: Names of parameters that stay.
        sigma: Standard deviation of the first candidates.
        seed: Seed of the draws.

    Raises:
        ConfigError: The package cma is not installed.
    """
    try:
        import cma
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The optimizer cma is CMA-ES of the package cma: {missing_package(error)} The optimizer adam does without."
        ) from error
    free = [name for name in start if name not in fixed]
    first = torch.cat([start[name].flatten() for name in free]).double().cpu().numpy()
    options = {"popsize": population, "seed": seed or 1, "verbose": -9, "maxiter": iterations}
    search = cma.CMAEvolutionStrategy(first, sigma, options)
    best = _Best(start)
    for step in track(range(iterations), "searching latent vectors"):
        candidates = search.ask()
        rows = torch.from_numpy(np.stack(candidates)).to(next(iter(start.values())))
        parameters = {name: value.expand(population, *value.shape[1:]) for name, value in start.items()}
        parts = rows.split([start[name].numel() for name in free], dim=1)
        parameters |= {name: part.unflatten(1, start[name].shape[1:]) for name, part in zip(free, parts, strict=True)}
        with torch.no_grad():
            values = objective(parameters, step / iterations)
        search.tell(candidates, values.nan_to_num(torch.finfo(values.dtype).max).double().cpu().tolist())
        k = int(values.nan_to_num(torch.inf).argmin())
        best.take({name: value[k : k + 1] for name, value in parameters.items()}, values[k : k + 1])
        note(f"objective {best.least.mean():.3g}")
        if search.stop():
            break
    return Found(best.found, best.least)


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """``(P,)`` -> ``(P, 1, ...)``, to be multiplied by parameters."""
    return values.view(-1, *[1] * (like.ndim - 1))
