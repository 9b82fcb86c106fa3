"""The singular values of the head's Jacobian: is the picture gone, or is its gradient only masked?

A defense that gives the head a small Lipschitz constant makes every change of the picture faint in what is sent.
Attacks by gradient then stall, as they do where the picture is gone, but another attack may not. The Jacobian J at a
picture tells the two apart, to first order: a direction u with J u = 0 is gone, one with a small |J u| is faint.

We ask for the directions that matter: the principal components of the attacker's images. Columns of J are central
differences in float64, for those work for every layer, and we need eight digits, not sixteen. What `protect` does is
not part of J: noise does not change it, and what a mask leaves out changes with every release.
"""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutlayer.records.run import Passed, Spectrum

POINTS = 2
"""Images at which the Jacobian is taken."""
DIRECTIONS, VALUES = 128, 128 * 3072
"""At most so many directions, and so many that images of this size hold at most so many values in all."""
IMAGES = 1024
"""Auxiliary images whose principal components are taken."""
STEP = 1e-6
"""Step of the differences, in pixel units, along a direction of length 1."""
CHUNK = 64
"""Images in a batch."""
PRESENT = 1e-9
"""Share of the largest variance with which a direction occurs in the images at all."""
PASSED = 1e-6
"""A direction counts as passed on when it is at most a million times fainter than the strongest: float32 holds that."""
FAINT = 100.0
"""Where the faintest direction is as much fainter than the strongest, the spectrum is called ill-conditioned."""


def spectrum(head: nn.Module, images: NDArray[np.float32], undefended: nn.Module) -> Spectrum:
    """What a head passes on, to first order, and what it would without the defense.

    Args:
        head: The head as deployed, in eval mode.
        images: ``(N, C, H, W)`` in [0, 1], like the victims' but not theirs.
        undefended: The head before the defense changed it.
    """
    basis, share = directions(images)
    points = torch.from_numpy(images[:POINTS])
    passed = _summary(head, points, basis)
    with torch.inference_mode():
        after, before = head(points), undefended(points)
    same = after.shape == before.shape and torch.equal(after, before)
    reference = passed if same else _summary(undefended, points, basis)
    return Spectrum(len(points), len(basis), share, head=passed, undefended=reference)


def directions(images: NDArray[np.float32]) -> tuple[Tensor, float]:
    """The principal components ``(K, C, H, W)`` of images, of length 1, and the share of the variance they hold."""
    flat = torch.from_numpy(images[:IMAGES]).flatten(1).double()
    pixels = flat.shape[1]
    flat = flat - flat.mean(dim=0)
    if pixels <= len(flat):
        variance, basis = torch.linalg.eigh(flat.T @ flat)
    else:
        variance, scores = torch.linalg.eigh(flat @ flat.T)
        basis = flat.T @ scores
    present = int((variance > PRESENT * variance[-1]).sum())
    k = min(DIRECTIONS, max(16, VALUES // pixels), max(1, present))
    basis = torch.linalg.qr(basis[:, -k:].flip(1))[0]
    return basis.T.reshape(k, *images.shape[1:]), float(variance[-k:].sum() / variance.sum().clamp(min=1e-12))


@torch.inference_mode()
def singular_values(head: nn.Module, points: Tensor, basis: Tensor) -> Tensor:
    """``(n, K)``, descending: those of the Jacobian at n images, restricted to K directions of length 1."""
    exact = copy.deepcopy(head).cpu().double().eval()
    values = []
    for point in points.double():
        columns = [(exact(point + STEP * part) - exact(point - STEP * part)).flatten(1) for part in basis.split(CHUNK)]
        jacobian = torch.cat(columns) / (2 * STEP)
        values.append(torch.linalg.eigvalsh(jacobian @ jacobian.T).flip(0).clamp(min=0).sqrt())
    return torch.stack(values)


def ill_conditioned(spectrum: Spectrum) -> bool:
    """Whether a descent on the plain misfit may stall at this head."""
    return spectrum.head.condition >= FAINT


def _summary(head: nn.Module, points: Tensor, basis: Tensor) -> Passed:
    values = singular_values(head, points, basis)
    largest = values[:, :1]
    passed = values > PASSED * largest
    faintest = torch.where(passed, values, torch.inf).amin(dim=1)
    condition = torch.where(passed.any(dim=1), largest[:, 0] / faintest, 1.0)
    return Passed(*(float(value.median()) for value in (passed.sum(dim=1).double(), condition, largest[:, 0])))
