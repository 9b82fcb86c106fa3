import torch
from skimage.data import astronaut

from cutlayer.metrics.fsim import FSIM


def photograph() -> torch.Tensor:
    return torch.from_numpy(astronaut()[50:178, 160:288].transpose(2, 0, 1)[None] / 255).float()


def test_what_destroys_features_counts_more_than_what_shifts_the_brightness():
    image = photograph()
    blurred = torch.nn.functional.avg_pool2d(image, 9, 1, 4, count_include_pad=False)
    brighter = (image * 0.8 + 0.2).clamp(0, 1)
    scores = [FSIM.score(x, image, image).item() for x in (image, brighter, blurred)]
    assert scores[0] > 0.9999 > scores[1] > 0.95 > scores[2]


def test_colors_count_where_there_are_some():
    image = photograph()
    gray = image.mean(1, keepdim=True)
    assert FSIM.score(gray, gray, gray).item() > 0.9999
    swapped = image[:, [2, 1, 0]]
    assert FSIM.score(swapped, image, image) < FSIM.score(gray.expand_as(image), gray.expand_as(image), gray)


def test_batches_do_not_show(monkeypatch):
    image = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    other = (image + 0.1).clamp(0, 1)
    whole = FSIM.score(image, other, other)
    monkeypatch.setattr("cutlayer.metrics.fsim._PIXELS", 2 * 28 * 28)
    assert torch.allclose(whole, FSIM.score(image, other, other))
