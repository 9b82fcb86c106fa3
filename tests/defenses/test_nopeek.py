import torch

from cutlayer.defenses.nopeek import NoPeek
from cutlayer.defenses.shared.aware import smashed_of
from cutlayer.defenses.shared.dependence import distance_correlation
from tests.defenses.victims import accuracy, shades, small_split


def test_it_lowers_the_distance_correlation_and_keeps_the_accuracy():
    data, halves = shades(1000), small_split(3)
    inputs = torch.from_numpy(data.test.inputs)

    def correlation(split):
        return float(distance_correlation(inputs, torch.from_numpy(smashed_of(split, data.test))))

    correlations = []
    for weight in (1e-6, 5.0):
        hardened = NoPeek(weight=weight, epochs=6).harden(halves, data, seed=0)
        correlations.append(correlation(hardened))
        assert accuracy(hardened, NoPeek().protect, data) > 0.85
    assert correlations[0] > correlation(halves) - 0.1
    assert correlations[1] < correlations[0] - 0.3
