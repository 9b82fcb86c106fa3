"""Perceptual hashing: parts of the training images are replaced by patterns of a few bits, once and for all.

P. Prakash et al., "Privacy Preserving Facial Recognition Against Model Inversion Attacks", 2020: an inversion returns
hashed images. The pattern is that of `cutlayer.defenses.updates.perceptual_hash`, where a client hashes what it trains
on; here the whole training part is hashed before the training, and inputs later are not.

Threat model: an attacker with the weights or with scores. No attack is adapted to it. A judge that was trained on
images as they are may refuse a hashed image of the right person: report what it says of hashed real ones, too.

Differs from the paper, which is known from a survey: see there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.options import Share, Within

if TYPE_CHECKING:
    from torch import nn

    from cutlayer.data.splits import Dataset


@dataclass(kw_only=True)
class PerceptualHash(AnswerDefense):
    """Train on images in which some blocks are patterns of a few bits of their content.

    Args:
        part: Share of the blocks that are replaced.
        block: Side of a block, in pixels.
    """

    knob = "part"
    plain_words = "trains on images of which parts are replaced by patterns that keep a few bits of them"

    part: Share = 0.5
    block: Annotated[int, Within(2, 4096)] = 8

    def train(
        self, model: nn.Module, data: Dataset, public: Dataset, *, epochs: int, seed: int, lr: float = 2e-3
    ) -> None:
        """See `AnswerDefense`.

        Raises:
            ConfigError: The inputs are no images of one or three channels.
        """
        if self.on:
            from cutlayer.defenses.updates.perceptual_hash import hashed_blocks

            inputs = hashed_blocks(data.inputs, self.part, self.block, np.random.default_rng(seed))
            data = replace(data, inputs=inputs)
        super().train(model, data, public, epochs=epochs, seed=seed, lr=lr)
