"""TAG: rows of tokens are searched by squared and absolute differences of gradients.

J. Deng, Y. Wang, J. Li, C. Wang, C. Shang, H. Liu, S. Rajasekaran, C. Ding, "TAG: Gradient Attack on Transformer-based
Language Models", Findings of EMNLP 2021, https://arxiv.org/abs/2103.06819. Settings, as those of LAMP's code at commit
852d12f run it: squares plus 0.01 times absolute differences, normal first rows, Adam with learning rate 0.1, 2,500
steps, and the token of the most similar row.

Differs from the paper: absolute differences have the same factor in all layers; a row is searched in units of the
table, whose rows are as long as the first ones then; labels are found from the update, where theirs are given; the
length of the longest sentence of a batch is read off the update, and every other sentence is taken to be as long, where
theirs knows each.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from torch import Tensor

from cutlayer.attacks.gradients.base import Recovered
from cutlayer.attacks.gradients.language import longest, table_of
from cutlayer.attacks.gradients.matching import Matching
from cutlayer.attacks.gradients.objective import Match, Problem
from cutlayer.attacks.gradients.priors import Prior
from cutlayer.attacks.gradients.sentences import Sentences
from cutlayer.attacks.gradients.view import Observation, UpdateView
from cutlayer.errors import ConfigError
from cutlayer.options import Count, LearningRate


@dataclass(kw_only=True)
class TAG(Matching):
    """Match squared and absolute differences over the rows of tokens; see `Matching`."""

    plain_words = "searches a row of numbers for each word until they would have caused the same update"
    of_sentences = True

    distance: str = "squares-and-sizes"
    iterations: Count = 2500
    direction: str = "gradient"
    schedule: str = "constant"
    lr: LearningRate = 0.1

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        """See the base."""
        if not view.input.is_tokens:
            raise ConfigError(
                f"{type(self).__name__} searches the tokens of sentences, and the inputs are of another kind."
            )
        for observation in observations:
            table_of(observation.model, type(self).__name__)
        return super().invert(view, observations)

    def _kind(self, view: UpdateView, problem: Problem) -> Hashable:
        """Sentences of one length are searched together."""
        return problem.kind, self._length(view, problem)

    def _stages(self, view: UpdateView, match: Match) -> Sequence[Prior]:
        """Rows of tokens."""
        problem = match.problems[0]
        _, layer = table_of(problem.observations[0].model, type(self).__name__)
        table = layer.weight.to(view.device)
        return [self._prior(view, match, table, problem.observations[0].samples, self._length(view, problem))]

    def _prior(self, view: UpdateView, match: Match, table: Tensor, samples: int, length: int) -> Prior:
        return Sentences(table, samples, length, view.input.shape[0], scaled=False)

    def _length(self, view: UpdateView, problem: Problem) -> int:
        return max(longest(o, view, type(self).__name__) for o in problem.observations)
