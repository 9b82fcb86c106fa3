"""What holds for every metric of sentences. A new one takes one row in `ROWS`."""

from typing import NamedTuple

import pytest
import torch

from cutlayer.data.modality import tokens
from cutlayer.metrics.nearness import DISTANCES, error_of
from cutlayer.registry import METRICS


class Row(NamedTuple):
    """One registered metric: its score of a sentence of four tokens of which three are right."""

    three_of_four: float


ROWS = {"token-accuracy": Row(0.75), "exact": Row(0.0)}
ORIGINALS = torch.tensor([[5, 6, 7, 8, 0, 0], [9, 1, 0, 0, 0, 0]])
NEAR = torch.tensor([[5, 6, 7, 1, 3, 3], [9, 1, 0, 0, 0, 0]])


def test_every_registered_metric_of_sentences_has_a_row():
    assert {name for name in METRICS if "tokens" in METRICS.load(name).modalities} == ROWS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_known_scores(name):
    metric = METRICS.load(name)
    assert metric.score(ORIGINALS, ORIGINALS, ORIGINALS).tolist() == [1.0, 1.0]
    assert metric.score(NEAR, ORIGINALS, ORIGINALS).tolist() == pytest.approx([ROWS[name].three_of_four, 1.0])
    assert metric.explanation.endswith(".")


def test_what_stands_behind_the_end_does_not_count():
    assert error_of(tokens(9))(NEAR, ORIGINALS).tolist() == pytest.approx([0.25, 0.0])


def test_candidates_differ_by_their_places():
    assert DISTANCES["tokens"](NEAR, ORIGINALS).tolist() == [[3.0, 6.0], [4.0, 0.0]]
