import torch

from cutlayer.metrics.base import Context
from cutlayer.metrics.judge import Judge
from cutlayer.metrics.judged import ACCURACY, DISTANCE, IIP

# Two features, the means of the two halves of a 1x2 image; the class is the greater one.
JUDGE = Judge("", features=lambda x: x.flatten(1), logits=lambda x: x)


def images(*pairs: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(pairs, dtype=torch.double)[:, None, None, :]


def test_the_class_is_recognized_or_not():
    truth, rebuilt = images((0.9, 0.1), (0.2, 0.8)), images((0.6, 0.5), (0.9, 0.8))
    context = Context(labels=torch.tensor([0, 1, 1]), judge=JUDGE)
    assert ACCURACY.score(rebuilt, truth, truth, context).tolist() == [1, 0]


def test_the_distance_is_between_features():
    truth, rebuilt = images((0.5, 0.5)), images((0.8, 0.9))
    assert DISTANCE.score(rebuilt, truth, truth, Context(judge=JUDGE)).tolist() == [0.5]


def test_the_original_is_looked_for_among_its_class_by_the_angle_of_the_features():
    candidates = images((0.9, 0.1), (0.2, 0.8), (0.5, 0.5), (0.0, 1.0))
    rebuilt = images((0.45, 0.05), (0.3, 0.3))  # half as bright; of the angle of the third
    labels = torch.tensor([0, 1, 0, 1])
    # The third is of another class than the second, so that the second is the nearest of its own.
    assert IIP.score(rebuilt, candidates[:2], candidates, Context(labels=labels, judge=JUDGE)).tolist() == [1, 1]
    alike = torch.tensor([0, 0, 0, 0])
    assert IIP.score(rebuilt, candidates[:2], candidates, Context(labels=alike, judge=JUDGE)).tolist() == [1, 0]


def test_a_reconstruction_whose_original_is_no_candidate_is_left_out():
    truth = images((0.9, 0.1), (0.2, 0.8), (0.5, 0.5))
    context = Context(labels=torch.tensor([0, 1, 1]), judge=JUDGE)
    assert IIP.score(truth, truth, truth[:2], context).tolist() == [1, 1]
