"""The law of what arrives, as a defense states it: how likely a release is for each candidate.

Whoever holds the head and the defense computes the mean of a release and knows the density of the noise around it
(`cutlayer.defenses.shared.density`). A sentence has noise on its own tokens alone: nothing is sent for padding. Its
length is seen, so that a candidate of another length is impossible, and among those of its length the rows of its
tokens decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from cutlayer.attacks.features.white_box import freeze
from cutlayer.attacks.queries import CHUNK, release
from cutlayer.attacks.tokens.pairs import lengths_seen
from cutlayer.attacks.view import View
from cutlayer.data.modality import TOKENS
from cutlayer.defenses.shared.density import Density
from cutlayer.sequences import lengths

MISFIT = 0.05
"""Nats per value by which the density of what arrives may differ from that of draws of the law that is stated."""

Law = Callable[[Tensor], Density | None]
"""Inputs of one shape to the law of a release of each; None where the defense states none."""


def is_in_rows(view: View) -> bool:
    """Whether what arrives has a row for each token of a sentence, and so as many as the sentence has tokens."""
    kind, smashed = view.auxiliary.modality.name, view.smashed.shape
    return kind == TOKENS and len(smashed) == 2 and smashed[0] == view.input.shape[0]


def own_lengths(ids: Tensor) -> Tensor:
    """The number of tokens of each sentence, ``(N, T)`` to ``(N,)`` on the CPU."""
    return torch.from_numpy(lengths(ids.cpu().numpy()))


def stated(view: View) -> Law:
    """The law of a release of each input, by the head and the defense that a white-box attacker holds."""
    head, defense = freeze(view.head).to(view.device), view.defense

    def law(inputs: Tensor) -> Density | None:
        with torch.no_grad():
            smashed = [head(part.to(view.device)) for part in inputs.split(CHUNK)]
            return defense.density(torch.cat(smashed))

    return law


def obeys(law: Law, view: View, own: Tensor) -> bool:
    """Whether there is a law, and what arrives for inputs of the attacker's own obeys it: no codec has changed it."""
    first = law(own[:1])
    if first is None or not first.exact or first.mean.shape[1:] != view.smashed.shape:
        return False
    generator, arrived = torch.Generator().manual_seed(view.seed), release(view.query, own, view.device)
    unexpected, values = 0.0, 0
    for some, rows in _of_one_length(view, own):
        density, sent = law(own[some, :rows] if rows else own), arrived[some, :rows] if rows else arrived
        assert density is not None
        drawn = density.draw(1, generator)[0].to(sent)
        found, expected = (density.log_density_of_own(released).sum() for released in (sent, drawn))
        unexpected, values = unexpected + float(found - expected), values + sent.numel()
    return abs(unexpected) < MISFIT * values


def log_densities(law: Law, view: View, releases: Tensor, candidates: Tensor, most_values: int) -> Tensor:
    """The log density of several releases of each of N inputs together, for each of M candidates, in nats.

    Args:
        law: A law that what arrives obeys.
        view: What the attacker may touch.
        releases: ``(n_releases, N, *smashed.shape)``.
        candidates: ``(M, *input.shape)``.
        most_values: Numbers of the candidates' means that are in memory at a time.

    Returns:
        ``(N, M)``; of sentences minus infinity where the length is another, and without the constant of the length.
    """
    together = max(1, most_values // view.smashed.size)

    def scored(releases: Tensor, candidates: Tensor) -> Tensor:
        laws = map(law, candidates.split(together))
        return torch.cat([density.log_density_of_releases(releases) for density in laws if density], 1)

    if not is_in_rows(view):
        return scored(releases, candidates)
    seen = lengths_seen(releases)
    dtype = torch.float32 if releases.device.type == "mps" else torch.float64
    scores = torch.full((len(seen), len(candidates)), -torch.inf, dtype=dtype, device=releases.device)
    for some, rows in _of_one_length(view, candidates):
        assert rows is not None
        those = torch.where(seen.eq(rows))[0]
        if len(those):
            scores[those[:, None], some.to(those.device)] = scored(releases[:, those, :rows], candidates[some, :rows])
    return scores


def _of_one_length(view: View, inputs: Tensor) -> Iterator[tuple[Tensor, int | None]]:
    """Places of sentences of one length, and that length; all places and None where inputs have no length."""
    if not is_in_rows(view):
        yield torch.arange(len(inputs)), None
        return
    own = own_lengths(inputs)
    for rows in own.unique().tolist():
        yield torch.where(own == rows)[0], rows
