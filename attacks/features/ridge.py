"""Ridge regression from smashed data to pixels: the best linear inversion, in closed form.

    W = argmin  sum_i ||x_i - W a_i||^2  +  penalty ||W||^2,      a = standardized smashed data

(Hoerl and Kennard, Ridge Regression, Technometrics 1970.) Threat model: the attacker queries the device's head and
defense with its own images. There is nothing to tune and nothing to train, yet it inverts linear cuts almost exactly
and beats the published attacks on the first layers of small networks; a defense that does not stop it stops no attack.

The penalty is chosen on a tenth of the attacker's images, from photographs or people that the solution has not seen. We
solve by Cholesky at each penalty of a short walk, and not by one eigendecomposition for all of them, which takes as
long as some thirty Cholesky factorizations. The system is written in whichever space is smaller, smashed values or
images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.queries import release, with_held_out
from cutlayer.attacks.view import Access, View
from cutlayer.options import Size, Whole

CHUNK = 1024
"""Rows multiplied at a time; bounds the memory."""
HELD_OUT = 0.1
"""Share of the images by which the penalty is chosen."""
START, MOST, LEAST = -2, 3, {torch.float32: -4, torch.float64: -9}
"""Penalties tried are n * 10^k: k = 0 weighs the penalty like the mean variance of a standardized value. The least k is
what rounding allows; where float32 would go as low as that, the system is solved again in float64."""
PROBED = 256
"""Pixels by which the penalty is chosen."""
NEGLIGIBLE = 1e-8
"""Mean squared error below which a better penalty does not matter; 80 dB."""


@dataclass(kw_only=True)
class Ridge(Attack):
    """Invert by the linear map that fits the attacker's own images best.

    Args:
        max_system: Largest linear system solved. Where the smashed data has more values than that, only so many
            auxiliary images are used. The cost grows with the cube: 8192 takes seconds, 30,000 many minutes.
        n_auxiliary: Images used; 0 for all that the attacker has.
    """

    plain_words = "a linear formula fitted on the attacker's own pictures"
    needs = Access.BLACK_BOX

    max_system: Size = 8192
    n_auxiliary: Whole = 0

    def fit(self, view: View) -> None:
        """Query with the auxiliary images, choose the penalty, solve."""
        device = torch.device("cpu") if view.device.type == "mps" else view.device  # mps has no float64
        n = self.n_auxiliary or len(view.auxiliary)
        images, n_fit = with_held_out(
            view, min(n, self.max_system) if view.smashed.size > self.max_system else n, HELD_OUT
        )
        smashed = release(view.query, images, device).flatten(1)
        self._shape = images.shape[1:]
        self._center, spread = smashed.mean(dim=0), smashed.std(dim=0)
        # A value that never changes has no weight.
        self._scale = torch.where(spread > 1e-6 * spread.max(), 1 / spread, 0.0)
        pixels = images.to(device).flatten(1)
        self._mean = pixels.mean(dim=0)
        self._weights, _ = solve(smashed.sub_(self._center).mul_(self._scale), pixels - self._mean, n_fit)

    def invert(self, smashed: Tensor) -> Tensor:
        """``(N, *smashed.shape)`` -> ``(N, C, H, W)``."""
        standardized = (smashed.to(self._center).flatten(1) - self._center) * self._scale
        pixels = (self._mean + standardized @ self._weights).clamp(0, 1)
        return pixels.reshape(len(smashed), *self._shape).to(smashed)


def solve(a: Tensor, x: Tensor, n_fit: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, float]:
    """The weights of ridge regression, solved in float64 where that matters.

    Args:
        a: ``(N, D)`` inputs, centered.
        x: ``(N, P)`` outputs, centered.
        n_fit: The penalty is chosen by the rows from this one on; afterwards all rows are used.
        dtype: Precision of the system.

    Returns:
        Weights ``(D, P)``, and the mean squared error on the rows by which the penalty was chosen.
    """
    n = len(a)
    probed = torch.linspace(0, x.shape[1] - 1, min(x.shape[1], PROBED)).long()  # enough to choose by, and much cheaper
    truth = x[n_fit:, probed].to(dtype)
    primal = a.shape[1] <= n_fit
    if primal:
        system, target = (_cross(a[:n_fit], b[:n_fit], dtype) for b in (a, x[:, probed]))
        probe = a[n_fit:].to(dtype)
    else:
        kernel = _cross(a.T, a.T, dtype)
        system, target, probe = kernel[:n_fit, :n_fit], x[:n_fit, probed].to(dtype), kernel[n_fit:, :n_fit]

    def error(exponent: int) -> float:
        solution = _ridge(system, target, n_fit * 10.0**exponent)
        return torch.inf if solution is None else float((probe @ solution - truth).square().mean())

    exponent, least = _lowest(error, LEAST[dtype])
    if exponent == LEAST[dtype] and dtype == torch.float32:
        return solve(a, x, n_fit, torch.float64)
    if primal:
        system, target = system + _cross(a[n_fit:], a[n_fit:], dtype), _cross(a, x, dtype)
    else:
        system, target = kernel, x.to(dtype)
    solution = _ridge(system, target, n * 10.0**exponent)
    assert solution is not None, "the walk ends where the system could be solved"
    return (solution.float() if primal else _cross(a, solution, dtype).float()), least


def _ridge(system: Tensor, target: Tensor, penalty: float) -> Tensor | None:
    """``(system + penalty I)^-1 target``, or None where rounding has left the matrix indefinite."""
    penalized = system.clone()
    penalized.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(penalized)
    return None if failed else torch.cholesky_solve(target, factor)


def _lowest(error: Callable[[int], float], least: int) -> tuple[int, float]:
    """Walk downhill from START, one decade at a time, first towards less penalty; never below `least`.

    Returns:
        The exponent at the bottom, and the error there.
    """
    best, lowest = START, error(START)
    for step in (-1, 1):
        while lowest > NEGLIGIBLE and least <= best + step <= MOST and (tried := error(best + step)) < lowest:
            best, lowest = best + step, tried
        if best != START:
            break
    return best, lowest


def _cross(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """``left.T @ right``, a chunk of rows at a time."""
    total = torch.zeros(left.shape[1], right.shape[1], dtype=dtype, device=left.device)
    for a, b in zip(torch.split(left, CHUNK), torch.split(right, CHUNK), strict=True):
        total.addmm_(a.T.to(dtype), b.to(dtype))
    return total
