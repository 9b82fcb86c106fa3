"""LAMP: rows of tokens are searched by gradients, and their order by a language model.

M. Balunović, D. I. Dimitrov, N. Jovanović, M. Vechev, "LAMP: Extracting Text from Gradients with Language Model
Priors", NeurIPS 2022, https://arxiv.org/abs/2202.08827; code https://github.com/eth-sri/lamp at commit 852d12f.
Settings: the mean over layers of one minus the cosine, plus the square of how far the rows' mean length is from that
in the table; the best of 500 random beginnings, and of 500 orders of it; 2,000 steps of Adam with learning rate 0.01,
times 0.89 every 50 steps; every 75 steps after a tenth of them 200 other orders, of which the least sum of the
distance and 0.2 times the language model's loss is taken. ``distance = "squares-and-sizes"`` with ``likely = 25`` and
``fluency = 60`` is their second variant.

Differs from the paper: the language model is a small decoder that is trained on the attacker's own sentences, where
theirs is GPT-2 on WikiText-103; a row and its length are in units of the table, in which their learning rate is 0.2;
labels and lengths as in `tag`; tokens such as [CLS] are searched as any other, where theirs are put in their places.
"""

from dataclasses import dataclass

from torch import Tensor

from cutlayer.attacks.gradients.objective import Match
from cutlayer.attacks.gradients.priors import Prior
from cutlayer.attacks.gradients.sentences import Ordered, language_model
from cutlayer.attacks.gradients.tag import TAG
from cutlayer.attacks.gradients.view import UpdateView
from cutlayer.options import Count, LearningRate, Weight, Whole


@dataclass(kw_only=True)
class LAMP(TAG):
    """Match the cosine of each layer over the rows of tokens, and try other orders of them; see `Matching`.

    Args:
        candidates: Random beginnings among which is chosen, and orders of the best of them.
        fluency: Weight of the language model's loss in nats, where orders are compared.
        every: Steps between two trials of other orders.
        orders: Orders in a trial, for each sentence.
        language_epochs: Passes of the language model over the attacker's own sentences.
    """

    plain_words = "searches a row of numbers for each word, and puts the words in an order that makes a likely sentence"

    distance: str = "layer-cosine"
    likely: Weight = 1.0
    iterations: Count = 2000
    schedule: str = "falling"
    lr: LearningRate = 0.2
    candidates: Count = 500
    fluency: Weight = 0.2
    every: Count = 75
    orders: Count = 200
    language_epochs: Whole = 10

    def _prior(self, view: UpdateView, match: Match, table: Tensor, samples: int, length: int) -> Prior:
        return Ordered(
            table, samples, length, view.input.shape[0], language_model(view, self.language_epochs),
            candidates=self.candidates, weight=self.fluency, every=self.every, first=self.iterations // 10,
            orders=self.orders,
        )  # fmt: skip
