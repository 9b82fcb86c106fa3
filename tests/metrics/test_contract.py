"""What holds for every metric of the registry. A new metric takes one row in `ROWS`."""

from typing import NamedTuple

import pytest
import torch

from cutlayer.metrics.base import Metric
from cutlayer.registry import METRICS


class Row(NamedTuple):
    """One registered metric.

    Attributes:
        perfect: Score of an exact copy.
        brighter: Score of an image of 0.6 whose original is one of 0.5.
    """

    perfect: float
    brighter: float


ROWS = {
    "mse": Row(0.0, 0.01),
    "psnr": Row(torch.inf, 20.0),
    "ssim": Row(1.0, 0.6001 / 0.6101),  # brightness alone: (2 * 0.6 * 0.5 + 1e-4) / (0.6**2 + 0.5**2 + 1e-4)
    "identification": Row(1.0, 1.0),
}


def images(seed: int) -> torch.Tensor:
    return torch.rand(6, 3, 12, 10, generator=torch.Generator().manual_seed(seed))


ORIGINALS = images(0)
CANDIDATES = torch.cat([ORIGINALS, images(1)])
NOISY = (ORIGINALS + 0.1 * torch.randn(ORIGINALS.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
UNRELATED = images(1)

every_metric = pytest.mark.parametrize("metric", [METRICS.load(name) for name in METRICS], ids=list(METRICS))


def test_every_registered_metric_has_a_row():
    assert ROWS.keys() == METRICS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_known_scores(name):
    metric: Metric = METRICS.load(name)
    assert metric.score(ORIGINALS, ORIGINALS, CANDIDATES).tolist() == pytest.approx([ROWS[name].perfect] * 6)
    brighter, original, candidate = (torch.full((1, 1, 8, 8), value, dtype=torch.double) for value in (0.6, 0.5, 0.9))
    score = metric.score(brighter, original, torch.cat([original, candidate]))
    assert score.tolist() == pytest.approx([ROWS[name].brighter])


@every_metric
def test_each_reconstruction_has_a_score_of_its_own(metric):
    scores = metric.score(NOISY, ORIGINALS, CANDIDATES)
    assert scores.shape == (6,)
    assert scores.dtype == torch.float32
    single = [metric.score(NOISY[i : i + 1], ORIGINALS[i : i + 1], CANDIDATES[i:])[0] for i in range(6)]
    assert torch.allclose(torch.stack(single), scores)


@every_metric
def test_a_nearer_reconstruction_leaks_more(metric):
    copy, noisy, unrelated = (metric.score(x, ORIGINALS, CANDIDATES) for x in (ORIGINALS, NOISY, UNRELATED))
    sign = {"high": 1, "low": -1}[metric.leak_when]
    assert bool((sign * noisy > sign * unrelated).all())
    assert bool((sign * copy >= sign * noisy).all())


@every_metric
def test_it_carries_the_words_of_a_report(metric):
    assert metric.title[0].isupper()
    assert metric.explanation.endswith(".")
    assert metric.digits >= 0
    assert metric.factor > 0
    assert "image" in metric.modalities


@every_metric
def test_what_would_be_scored_wrongly_is_refused(metric):
    image = torch.full((2, 1, 8, 8), 0.5)
    for wrong in (image[:1], image[0], image * 255, image - 1, image * float("nan"), (image * 2).to(torch.uint8)):
        with pytest.raises(ValueError, match=r"cannot be scored against|must be floating-point"):
            metric.score(wrong, image, image)
