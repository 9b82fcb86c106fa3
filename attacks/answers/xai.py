"""XAI-aware inversion: background alignment that is given the explanation of each answer as well.

After X. Zhao, W. Zhang, X. Xiao, B. Lim, "Exploiting Explanations for Model Inversion Attacks", ICCV 2021,
https://arxiv.org/abs/2104.12669, from its description. A service that explains its answers sends a map of the input
with each (`cutlayer.nets.explanations`), and the decoder takes the answer and the map.

Differs from the paper: the map enters flattened, which is one of its three forms (the others pass it through a U-Net),
shrunk to at most `SIDE` pixels on each side. The victim must explain; no surrogate stands in for it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from cutlayer.attacks.answers.background_alignment import BackgroundAlignment
from cutlayer.attacks.answers.base import Seen
from cutlayer.attacks.answers.view import ClassView
from cutlayer.errors import ConfigError

SIDE = 28
REACH = 10.0
"""What the maps in [0, 1] are multiplied by, which makes them as large as shifted log-probabilities vary."""


@dataclass(kw_only=True)
class Xai(BackgroundAlignment):
    """Train a decoder of answers and their explanations on the attacker's own inputs."""

    plain_words = "trains a network that turns the answers and their explanations back into pictures"

    def observed(self, view: ClassView, inputs: Tensor) -> Seen:
        """See `BackgroundAlignment`.

        Raises:
            WithheldError: The service does not explain its answers.
        """
        return Seen(view.service.scores(inputs), view.explain(inputs))

    def evidence(self, seen: Seen) -> Tensor:
        """See `BackgroundAlignment`.

        Raises:
            ConfigError: No explanation was seen.
        """
        if seen.explanations is None:
            raise ConfigError(
                "xai rebuilds inputs from answers with their explanations, and none was seen; run "
                "background-alignment, which needs the answers only, or let the victim explain."
            )
        height, width = (min(side, SIDE) for side in seen.explanations.shape[2:])
        maps = adaptive_avg_pool2d(seen.explanations, (height, width)).flatten(1)
        return torch.cat([super().evidence(seen), REACH * maps.to(seen.scores)], 1)
