"""The ceiling: what no attacker exceeds where a defense adds noise of known density.

The attacker is given all that could help: the head, the defense, and N candidates, one of which was sent. With each
candidate equally likely, the most likely one is the best guess, so that its rate of success bounds every attacker's
identification rate. The mean of the candidates, weighted by how likely each is after what arrived, has the least mean
squared error of all reconstructions; its leakage gain bounds that of whoever knows less than the candidates. Of a row
of a table, whose error is the share of wrong columns, it is the likeliest word of each column, and the number within
whose tolerance the likeliest numbers lie. (All are textbook facts of Bayesian decisions: C. P. Robert, "The Bayesian
Choice", 2007, chapter 2.) Of a sentence, whose error is the share of wrong tokens, it is the likeliest token of each
place; the length of a sentence is seen, so that sentences of two lengths are always told apart.

Both figures are measured on simulated releases, and stated with one-sided bounds of 95 %: that of the identification
rate is exact (Clopper and Pearson, Biometrika, 1934), that of the leakage gain a percentile bootstrap over the inputs.

What is assumed: the candidates and a uniform prior; noise that is drawn anew for each release, or kept for an input
where the defense says so; the head as deployed, in float32. Whatever follows the noise (a codec, rounding, a later
defense) only takes away, by data processing. No ceiling is stated for an attacker who knows more than the candidates,
such as that two releases are of one person.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log2, prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cutlayer.data.modality import IMAGE, TOKENS, Modality
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import Defense
from cutlayer.defenses.shared.density import Density
from cutlayer.metrics.interval import exact_proportion
from cutlayer.metrics.leakage import leakage_gain
from cutlayer.metrics.nearness import error_of
from cutlayer.privacy.identification import CANDIDATES
from cutlayer.progress import track
from cutlayer.records.run import Ceiling, CeilingAt, Estimate
from cutlayer.sequences import PAD, each_length, lengths
from cutlayer.split_folder import Half

RELEASES = (1, 4, 16, 64)
"""Numbers of releases of one input for which the ceiling is stated."""
FURTHER = 65_536
"""Greatest number of releases that is tried to find when nothing is hidden any more."""
GONE = 0.95
"""Identification rate from which on nothing is hidden."""
TRIALS = 2000
"""Simulated guesses for each number of releases, where they are cheap; at least one for each input."""
LEAST_TRIALS = 64
"""Simulated guesses below which a number of releases is left out."""
WORK = 4e9
"""Differences of two numbers that are computed for a number of releases, about 4 s of one core."""
VALUES = 1 << 24
"""Numbers that are held at a time."""
TIED = 1e-6
"""Nats within which the logarithms of two likelihoods are equal; a lot decides between such candidates."""
APART = 64.0
"""Units of the noise by which the number that tells the length of a sentence differs from that of the next length."""
BATCH = 256
"""Inputs that the head is given at a time."""
CONFIDENCE = 0.9
"""Confidence of a two-sided interval, each of whose ends holds with 95 %."""


def ceiling(defense: Defense, head: Half, data: Splits, n_private: int, seed: int) -> Ceiling:
    """The ceiling of a deployed head and its defense.

    Args:
        defense: The defense, ready to protect.
        head: The head as deployed.
        data: The candidates are its first private inputs, at most `CANDIDATES`; its floor is that of the leakage gain.
        n_private: Private inputs that are attacked. The figures are means over these.
        seed: Seed of the simulated noise and of the bootstrap.
    """
    # A slow defense before the noise takes seconds for each candidate.
    inputs = data.private.inputs[: n_private if defense.slow else CANDIDATES]
    if defense.density(head(inputs[:1])) is None:
        return Ceiling("density unknown" if defense.random else "deterministic")
    smashed = np.concatenate([head(inputs[first : first + BATCH]) for first in range(0, len(inputs), BATCH)])
    if data.modality.name == TOKENS and smashed.ndim == 3:
        density = _of_sentences(defense, smashed, lengths(inputs))
    else:
        density = defense.density(smashed)
    assert density is not None
    inputs, floor = data.modality.unmarked(inputs), data.floor
    bound = ceiling_of(density, inputs, floor, min(n_private, len(inputs)), seed, data.modality)
    return bound if defense.random else _repeated(bound)


def _of_sentences(defense: Defense, smashed: NDArray[np.float32], own: NDArray[np.intp]) -> Density | None:
    """The law of a release of each sentence, whose length is seen: one number more, which tells it beyond all noise.

    Args:
        defense: The defense.
        smashed: ``(N, T, width)``, zero behind the end of each sentence.
        own: The length of each, ``(N,)``.
    """
    law = defense.density(smashed[:1, : own[0]])
    if law is None or np.ndim(law.scale):
        return None

    def mean(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        found = defense.density(rows)
        assert found is not None
        return np.asarray(found.mean, np.float32)

    means = each_length(mean, smashed, own).reshape(len(smashed), -1)
    told = (own * (APART * float(law.scale))).astype(np.float32)[:, None]
    return replace(law, mean=np.concatenate([means, told], axis=1))


def ceiling_of(
    density: Density,
    inputs: NDArray[np.float32],
    floor: NDArray[np.float32],
    n: int,
    seed: int,
    modality: Modality = IMAGE,
) -> Ceiling:
    """The ceiling where a release of each of N candidates follows a density.

    Args:
        density: The law of one release of each candidate.
        inputs: The candidates, ``(N, *input.shape)``.
        floor: The reconstruction of whoever has learned nothing, ``(*input.shape,)``.
        n: The first n candidates are sent, one after the other, and the figures are means over these.
        seed: Seed of the simulated noise and of the bootstrap.
        modality: The kind of the inputs, which says what the error of a reconstruction is.
    """
    attacker, rng = _Attacker.of(density, inputs, modality), np.random.default_rng(seed)
    originals = torch.from_numpy(inputs[:n])
    floor_errors = error_of(modality)(torch.from_numpy(floor).expand_as(originals), originals).double().numpy()
    at, rates = list[CeilingAt](), dict[int, float]()
    for n_releases in RELEASES:
        if not attacker.is_reduced and at and at[-1].identified.value == 1:
            at.append(_nothing_hidden(at[-1], n_releases))
            continue
        if not (trials := attacker.trials(n, n_releases)):
            continue
        # Each input is sent equally often, but for a last part of a round.
        sent = np.concatenate([rng.permutation(n) for _ in range(-(-trials // n))])[:trials]
        hits, errors = attacker.guess(sent, n_releases, seed)
        identified = exact_proportion(float(hits.sum()), trials, CONFIDENCE)
        chosen, times = np.unique(sent, return_counts=True)
        mean_errors = np.bincount(sent, errors)[chosen] / times
        gain = leakage_gain(mean_errors, floor_errors[chosen], seed, CONFIDENCE)
        at.append(CeilingAt(n_releases, identified, _not_negative(gain)))
        rates[n_releases] = identified.value
    while attacker.is_reduced and max(rates.values()) < GONE and max(rates) < FURTHER:
        n_releases = 4 * max(rates)
        rates[n_releases] = float(attacker.guess(np.arange(n), n_releases, seed)[0].mean())
    return Ceiling("", len(inputs), tuple(at), _gone_after(rates), max(rates, default=0))


@dataclass(frozen=True)
class _Attacker:
    """Whoever holds the density and the candidates.

    Attributes:
        density: That of the U different candidates.
        log_prior: Logarithm of how often each of them is among the inputs, ``(U,)``.
        candidates: ``(U, *input.shape)``.
        place: The candidate that each input is, ``(N,)``.
        is_reduced: Whether `density` is that of a few directions, so that guesses are cheap.
        modality: The kind of the candidates.
    """

    density: Density
    log_prior: Tensor
    candidates: Tensor
    place: NDArray[np.intp]
    is_reduced: bool
    modality: Modality

    @classmethod
    def of(cls, density: Density, inputs: NDArray[np.float32], modality: Modality) -> _Attacker:
        """The attacker of these inputs, equal ones of which are one candidate."""
        _, first, place, times = _distinct(inputs)
        mean, scale = torch.as_tensor(density.mean), torch.as_tensor(density.scale, dtype=torch.float64)
        density = replace(density, mean=mean, scale=scale).at(first)
        reduced = density.reduced()
        if reduced is not None:
            # What the head gives alike is not told apart by rounding.
            _, alike, group, _ = _distinct(density.mean.numpy())
            reduced = reduced.at(torch.from_numpy(alike[group]))
        candidates = torch.from_numpy(inputs[first])
        return cls(reduced or density, torch.from_numpy(times).log(), candidates, place, reduced is not None, modality)

    def trials(self, n: int, n_releases: int) -> int:
        """Simulated guesses for this number of releases of n inputs; 0 where too few are possible in a short time."""
        if self.is_reduced:
            return max(n, TRIALS)
        of_each = n_releases * prod(self.density.mean.shape[1:])
        if self.density.family == "laplace":
            of_each *= len(self.candidates)
        most = int(WORK / of_each)
        return min(most, max(n, TRIALS)) if most >= LEAST_TRIALS else 0

    def guess(self, sent: NDArray[np.intp], n_releases: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Guess which inputs were sent, from so many releases of each.

        Returns:
            The chance that the best guess is right, and the error of the best reconstruction, ``(T,)`` each for T
            inputs sent.
        """
        rng, density = torch.Generator().manual_seed(seed), self.density
        if self.is_reduced:
            # The mean of releases says all that they say.
            density, n_releases = replace(density, scale=n_releases**-0.5), 1
        values = max(n_releases * prod(density.mean.shape[1:]), self.candidates[0].numel())
        places, hits, errors = torch.from_numpy(self.place[sent]), np.zeros(len(sent)), np.zeros(len(sent))
        for rows in track(torch.arange(len(sent)).split(max(1, VALUES // values)), "simulating guesses"):
            true = places[rows]
            releases = density.at(true).draw(n_releases, rng)
            scores = density.log_density_of_releases(releases) + self.log_prior
            best = scores >= scores.amax(1, keepdim=True) - TIED
            hits[rows] = best[range(len(true)), true] / best.sum(1)
            rebuilt = self._best_guess(scores.softmax(1).float())
            errors[rows] = error_of(self.modality)(rebuilt, self.candidates[true])
        return hits, errors

    def _best_guess(self, chances: Tensor) -> Tensor:
        """The reconstructions with the least expected error, where each candidate has these chances, ``(T, U)``."""
        if self.modality.name == TOKENS:
            return _likeliest(chances, self.candidates)
        rebuilt: Tensor = (chances @ self.candidates.flatten(1)).unflatten(1, self.candidates.shape[1:])
        for column in self.modality.columns:
            if column.words:
                continue  # the mean of the candidates is the chance of each word
            numbers, order = self.candidates[:, column.first].sort()
            reach = 2 * column.tolerance / (column.high - column.low)
            # What lies between a candidate and the last that is right together with it.
            last = torch.searchsorted(numbers, numbers + reach, right=True) - 1
            sums = functional.pad(chances[:, order].cumsum(1), (1, 0))
            first = (sums[:, last + 1] - sums[:, :-1]).argmax(1)
            rebuilt[:, column.first] = (numbers[first] + numbers[last[first]]) / 2
        return rebuilt


def _likeliest(chances: Tensor, candidates: Tensor) -> Tensor:
    """The likeliest token of each place, where each of these sentences ``(U, T)`` has these chances, ``(N, U)``."""
    places = []
    for place in candidates.T:
        tokens, which = place.unique(return_inverse=True)
        odds = chances.new_zeros(len(chances), len(tokens)).index_add_(1, which, chances)
        if tokens[0] == PAD:
            odds[:, 0] = -1.0  # to guess no token is never right: only tokens count
        places.append(tokens[odds.argmax(1)])
    return torch.stack(places, 1)


def _distinct(rows: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """What `numpy.unique` says of rows of any shape: values, first positions, the value of each, and their counts."""
    digests = [hashlib.blake2b(row.tobytes()).hexdigest() for row in rows]
    return np.unique(digests, return_index=True, return_inverse=True, return_counts=True)


def _nothing_hidden(last: CeilingAt, n_releases: int) -> CeilingAt:
    """What more releases tell where fewer already tell each input: no less, and no more than everything."""
    return CeilingAt(n_releases, replace(last.identified, high=1.0), replace(last.leakage_gain, high=1.0))


def _not_negative(gain: Estimate) -> Estimate:
    """The gain, at least that of the floor itself, which any attacker can give.

    Over all candidates it cannot be less; over the first n of them it can, by chance.
    """
    # An interval of one input is not a number, and stays so: max() keeps the first where it cannot compare.
    return Estimate(max(gain.value, 0.0), gain.n, max(gain.low, 0.0), max(gain.high, 0.0))


def _repeated(bound: Ceiling) -> Ceiling:
    """The same ceiling where a repeated input has the same noise again: all releases of it say what one says."""
    at = tuple(replace(first, n_releases=n_releases) for first in bound.at[:1] for n_releases in RELEASES)
    return replace(bound, at=at, gone_after=1.0 if at and at[0].identified.value >= GONE else None)


def _gone_after(rates: dict[int, float]) -> float | None:
    """The number of releases at which the rate reaches `GONE`; None where it does not.

    Between two numbers the rate is taken for a straight line over the logarithm of the number.
    """
    if rates and rates[1] >= GONE:
        return 1.0
    for (fewer, low), (more, high) in pairwise(sorted(rates.items())):
        if high >= GONE:
            return float(2 ** (log2(fewer) + (GONE - low) / (high - low) * log2(more / fewer)))
    return None
