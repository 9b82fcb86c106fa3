"""What holds for every metric of the registry. A new metric takes one row in `ROWS`."""

from typing import NamedTuple

import pytest
import torch

from cutlayer.metrics.base import Context, Metric
from cutlayer.metrics.judge import Judge
from cutlayer.nets._torchvision import models
from cutlayer.registry import METRICS


class Row(NamedTuple):
    """One registered metric.

    Attributes:
        perfect: Score of an exact copy; None where the original decides.
        brighter: Score of an image of 0.6 whose original is one of 0.5; None where the weights decide.
        network: Network of torchvision whose features it compares; their weights are random in these tests.
    """

    perfect: float | None
    brighter: float | None
    network: str = ""


ROWS = {
    "mse": Row(0.0, 0.01),
    "psnr": Row(torch.inf, 20.0),
    "ssim": Row(1.0, 0.6001 / 0.6101),  # brightness alone: (2 * 0.6 * 0.5 + 1e-4) / (0.6**2 + 0.5**2 + 1e-4)
    "identification": Row(1.0, 1.0),
    "ms-ssim": Row(1.0, 0.6001 / 0.6101),
    "fsim": Row(1.0, None),
    "avd": Row(0.0, 0.0),
    "rdlv": Row(None, None),
    "lpips": Row(0.0, None, "alexnet"),
    "lpips-squeeze": Row(0.0, None, "squeezenet1_1"),
    "lpips-vgg": Row(0.0, None, "vgg16"),
    "fid": Row(0.0, None),
    "recognized": Row(1.0, None),
    "feature-distance": Row(0.0, None),
    "iip": Row(1.0, 1.0),
}


def images(seed: int) -> torch.Tensor:
    return torch.rand(6, 3, 12, 10, generator=torch.Generator().manual_seed(seed))


ORIGINALS = images(0)
CANDIDATES = torch.cat([ORIGINALS, images(1)])
NOISY = (ORIGINALS + 0.1 * torch.randn(ORIGINALS.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
UNRELATED = images(1)


LABELS = torch.arange(12) % 4
JUDGE = Judge("", features=lambda x: x.flatten(1), logits=lambda x: torch.nn.functional.one_hot(_nearest(x) % 4, 4))
"""A classifier that has learned the candidates by heart."""


def _nearest(features: torch.Tensor) -> torch.Tensor:
    pool = CANDIDATES.flatten(1) if features.shape[1] == 360 else torch.zeros(1, features.shape[1])
    return torch.cdist(features.float(), pool).argmin(1)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of weights, in which those of the networks of `ROWS` are random."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, row in ROWS.items():
            if row.network:
                with torch.device("meta"):
                    shapes = {k: v.shape for k, v in getattr(models, row.network)().features.state_dict().items()}
                weights = {f"features.{k}": torch.randn(s) / max(1, s[1:].numel()) ** 0.5 for k, s in shapes.items()}
                torch.save(weights, folder / METRICS.load(name).weights.names[-1])
    return folder


@pytest.fixture
def score(root):
    def scored(metric: Metric, x, y, candidates):
        prior = CANDIDATES.mean(0) if x.shape[1:] == CANDIDATES.shape[1:] else y.mean(0)
        return metric.score(
            x, y, candidates, Context(prior=prior, labels=LABELS[12 - len(candidates) :], judge=JUDGE), root
        )

    return scored


METRICS_OF_ROWS = {name: METRICS.load(name) for name in METRICS if "image" in METRICS.load(name).modalities}
EACH = [name for name, metric in METRICS_OF_ROWS.items() if not metric.of_set]
every_metric = pytest.mark.parametrize("metric", METRICS_OF_ROWS.values(), ids=list(METRICS_OF_ROWS))
of_each = pytest.mark.parametrize("metric", [METRICS_OF_ROWS[name] for name in EACH], ids=EACH)
"""The metrics with a score for each reconstruction; those of the set have tests of their own."""


def test_every_registered_metric_has_a_row():
    assert ROWS.keys() == METRICS_OF_ROWS.keys()


@pytest.mark.parametrize("name", EACH)
def test_known_scores(score, name):
    metric: Metric = METRICS.load(name)
    if (perfect := ROWS[name].perfect) is not None:
        assert score(metric, ORIGINALS, ORIGINALS, CANDIDATES).tolist() == pytest.approx([perfect] * 6, abs=1e-6)
    brighter, original, candidate = (torch.full((1, 1, 8, 8), value, dtype=torch.double) for value in (0.6, 0.5, 0.9))
    scored = score(metric, brighter, original, torch.cat([original, candidate]))
    assert scored.shape == (1,)
    if ROWS[name].brighter is not None:
        assert scored.tolist() == pytest.approx([ROWS[name].brighter])


@of_each
def test_each_reconstruction_has_a_score_of_its_own(score, metric):
    scores = score(metric, NOISY, ORIGINALS, CANDIDATES)
    assert scores.shape == (6,)
    assert scores.dtype == torch.float32
    single = [score(metric, NOISY[i : i + 1], ORIGINALS[i : i + 1], CANDIDATES[i:])[0] for i in range(6)]
    assert torch.allclose(torch.stack(single), scores, atol=1e-6)


@of_each
def test_a_nearer_reconstruction_leaks_more(score, metric):
    copy, noisy, unrelated = (score(metric, x, ORIGINALS, CANDIDATES) for x in (ORIGINALS, NOISY, UNRELATED))
    sign = {"high": 1, "low": -1}[metric.leak_when]
    assert bool((sign * noisy >= sign * unrelated).all())
    assert (sign * noisy).mean() > (sign * unrelated).mean()
    assert bool((sign * copy >= sign * noisy).all())


@every_metric
def test_it_carries_the_words_of_a_report(metric):
    assert metric.title[0].isupper()
    assert metric.explanation.endswith(".")
    assert metric.digits >= 0
    assert metric.factor > 0
    assert "image" in metric.modalities


@every_metric
def test_what_would_be_scored_wrongly_is_refused(score, metric):
    image = torch.full((2, 1, 8, 8), 0.5)
    for wrong in (image[:1], image[0], image * 255, image - 1, image * float("nan"), (image * 2).to(torch.uint8)):
        with pytest.raises(ValueError, match=r"cannot be scored against|must be floating-point"):
            score(metric, wrong, image, image)
