import pytest
import torch

from cutlayer.metrics.variation import AVD


def test_the_distance_of_a_slope_from_a_flat_image_is_worked_by_hand():
    # Each step along a row is 0.1, so the first differences are 0.1 and the second ones 0.
    slope = torch.arange(5, dtype=torch.double).div(10).expand(1, 1, 4, 5)
    flat = torch.zeros_like(slope)
    assert AVD.score(slope, flat, flat).item() == pytest.approx(0.1)
    assert AVD.score(slope.flip(-1), slope, flat).item() == pytest.approx(0)  # the sign of a difference does not count


def test_second_differences_count_half():
    image = torch.zeros(1, 1, 3, 3, dtype=torch.double)
    image[..., 2, 2] = 0.4
    # First differences: 0.8 at the corner and 0 at three others; the second difference is 0.8 at the one place.
    expected = (0.8**2 / 4 + 0.5 * 0.8**2) ** 0.5
    assert AVD.score(image, torch.zeros_like(image), image).item() == pytest.approx(expected)


def test_an_image_without_neighbors_is_refused():
    image = torch.zeros(1, 1, 2, 5)
    with pytest.raises(ValueError, match="need images of 3x3 px, not"):
        AVD.score(image, image, image)
