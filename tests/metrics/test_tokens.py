"""What holds for every metric of sentences. A new one takes one row in `ROWS`."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from cutlayer.data.modality import tokens
from cutlayer.data.splits import Dataset, Splits
from cutlayer.metrics.base import Context, Metric
from cutlayer.metrics.nearness import distances, error_of
from cutlayer.privacy.score import Chosen, score
from cutlayer.registry import METRICS


class Row(NamedTuple):
    """One registered metric: its score of a sentence of four tokens of which three are right."""

    three_of_four: float


ROWS = {
    "token-accuracy": Row(0.75),
    "exact": Row(0.0),
    "rouge-l": Row(0.75),
    # 3 of 4 words, 2 + 1 of 3 + 1 pairs, 1 + 1 of 2 + 1 triples, 0 + 1 of 1 + 1 whole sentences.
    "bleu": Row((3 / 4 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
    "known-tokens": Row(4 / 5),
    "new-tokens": Row(1.0),
    "embedding-cosine": Row((5 * 5 + 6 * 6 + 7 * 7 + 1 * 8) / (111**0.5 * 174**0.5)),
}
ORIGINALS = torch.tensor([[5, 6, 7, 8, 0, 0], [9, 1, 0, 0, 0, 0]])
NEAR = torch.tensor([[5, 6, 7, 1, 3, 3], [9, 1, 0, 0, 0, 0]])
CONTEXT = Context(seen=torch.arange(10) != 6, embed=lambda ids: ids.float())
OF_TOKENS = {name: METRICS.load(name) for name in METRICS if "tokens" in METRICS.load(name).modalities}


def measured(metric: Metric, reconstructions: torch.Tensor, originals: torch.Tensor = ORIGINALS) -> torch.Tensor:
    return metric.score(reconstructions, originals, originals, CONTEXT)


def test_every_registered_metric_of_sentences_has_a_row():
    assert OF_TOKENS.keys() == ROWS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_known_scores(name):
    metric = OF_TOKENS[name]
    perfect, near = measured(metric, ORIGINALS), measured(metric, NEAR)
    assert perfect.tolist() == pytest.approx(1.0 if metric.of_set else [1.0, 1.0])
    assert near.tolist() == pytest.approx(ROWS[name].three_of_four if metric.of_set else [ROWS[name].three_of_four, 1])
    assert metric.explanation.endswith(".")


@pytest.mark.parametrize("name", sorted(ROWS.keys() - {"embedding-cosine"}))
def test_what_was_not_read_scores_nothing(name):
    nothing = torch.where(ORIGINALS != 0, 3, 0)
    assert float(measured(OF_TOKENS[name], nothing).max()) == 0


def test_the_order_of_words_counts_less_to_rouge_l_than_their_places():
    moved = torch.tensor([[6, 7, 8, 5, 0, 0]])
    assert measured(OF_TOKENS["token-accuracy"], moved, ORIGINALS[:1]).item() == 0
    assert measured(OF_TOKENS["rouge-l"], moved, ORIGINALS[:1]).item() == pytest.approx(0.75)


def test_a_share_of_words_that_do_not_occur_is_no_number():
    assert measured(OF_TOKENS["new-tokens"], NEAR[1:], ORIGINALS[1:]).isnan()


def test_what_stands_behind_the_end_does_not_count():
    assert error_of(tokens(9))(NEAR, ORIGINALS).tolist() == pytest.approx([0.25, 0.0])


def test_a_sentence_of_which_nothing_counts_has_nothing_to_get_wrong():
    said = torch.tensor([[5, 6, 0], [0, 0, 0]])
    assert error_of(tokens(9))(torch.tensor([[5, 7, 1], [7, 7, 7]]), said).tolist() == [0.5, 0.0]


def test_candidates_differ_by_their_places():
    assert distances(NEAR, ORIGINALS).tolist() == [[3.0, 6.0], [4.0, 0.0]]


def test_marks_at_known_places_do_not_count():
    kind, ids = tokens(10, (8, 9)), np.array([[8, 5, 6, 9, 0, 0], [8, 7, 9, 0, 0, 0]])
    part = Dataset(ids, np.zeros(2, np.int64), kind)
    data = Splits("some", ("one",), part, part, part, part)
    assert kind.unmarked(ids).tolist() == [[0, 5, 6, 0, 0, 0], [0, 7, 0, 0, 0, 0]]
    assert data.floor.tolist() == [5] * 6  # of 5, 6 and 7, each of which occurs once
    read = torch.tensor([[8, 5, 5, 9, 0, 0], [8, 7, 9, 0, 0, 0]])
    scored = score(read, data, 0, Chosen(("known-tokens", "bleu", "embedding-cosine")))
    assert scored.metrics["token-accuracy"].value == pytest.approx(0.75)
    assert scored.metrics["known-tokens"].value == pytest.approx(2 / 3)
    assert np.isnan(scored.metrics["embedding-cosine"].value)
    assert scored.leakage_gain.value == pytest.approx(2 / 3)
