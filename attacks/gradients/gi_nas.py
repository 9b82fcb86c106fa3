"""GI-NAS: the weights of an untrained network, chosen among many by its first objective.

W. Yu, H. Fang, B. Chen, X. Sui, C. Chen, H. Wu, S.-T. Xia, K. Xu, "GI-NAS: Boosting Gradient Inversion Attacks through
Adaptive Neural Architecture Search", https://arxiv.org/abs/2405.20725; code https://github.com/cswbyu/GI-NAS at commit
42e6a5b. Settings: one minus the cosine, 5,000 candidates, 30,000 steps of Adam on signs with learning rate 1e-3. Their
best network is that of the least distance before the first step, which costs no training.

Differs from the paper: candidates differ in the channels of their levels, where theirs differ in the kind of upsampling
and in their connections; there are 780 such networks. Labels are found from the update, where theirs are given. The
victim keeps its activations, where theirs gets sigmoids for ReLU.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cutlayer.attacks.gradients.matching import Matching, source
from cutlayer.attacks.gradients.objective import Match
from cutlayer.attacks.gradients.priors import Network, Prior
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.errors import ConfigError
from cutlayer.options import Count, LearningRate

CHANNELS = (8, 16, 32, 64, 128)
"""Channels that a level may have."""


@dataclass(kw_only=True)
class GINAS(Matching):
    """Search the weights of an untrained network, whose levels are chosen by the objective before the first step.

    Args:
        candidates: Networks among which is chosen.
    """

    plain_words = "shapes the untrained network that fits best from the start until its picture has the same gradient"

    prior: str = "network"
    iterations: Count = 30_000
    lr: LearningRate = 1e-3
    schedule: str = "constant"
    candidates: Count = 5000

    together: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.together != 1:
            raise ConfigError("gi-nas chooses a network for each update, so that together must be 1.")

    def _stages(self, view: UpdateView, match: Match) -> Sequence[Prior]:
        """The network of the least objective before the first step, with the weights from which the search begins."""
        problem = match.problems[0]
        every = [widths for levels in (1, 2, 3, 4) for widths in itertools.product(CHANNELS, repeat=levels)]
        chosen = np.random.default_rng([view.seed, problem.number]).permutation(len(every))[: self.candidates]
        best, least = None, math.inf
        for k in chosen:
            random = source(view.seed, problem.number, 0)
            prior = Network(problem.observations[0].samples, view.input.shape, every[k], view.device)
            start = match.extra(random) | prior.begin({}, random)
            with torch.no_grad():
                value = float(match.objective(prior, [0])({name: v[None] for name, v in start.items()}, 0.0))
            if best is None or value < least:
                best, least = prior, value
        assert best is not None
        return [best]
