"""SecretGen on pictures whose hidden part only the victim can tell."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cutlayer.attacks.answers.base import Seen
from cutlayer.attacks.answers.secret_gen import SecretGen
from cutlayer.attacks.answers.view import ClassView, Reply, Service
from cutlayer.data.splits import Dataset
from cutlayer.errors import ConfigError
from cutlayer.spec import image_spec

INPUT = image_spec(1, 12, 12)


def pictures(n, seed):
    """A shade, with a spot in the middle that is as bright as the shade where a person was in the victim's training."""
    random = torch.Generator().manual_seed(seed)
    shade, spot = torch.rand(2, n, 1, 1, 1, generator=random)
    images = shade.expand(-1, 1, 12, 12).clone()
    images[..., 4:8, 4:8] = spot
    return images


class Victim(nn.Module):
    """It knows people by their shade, dark or bright, and is the surer, the nearer the spot is to the shade."""

    def forward(self, x):
        shade, spot = x[..., :2, :].mean((1, 2, 3)), x[..., 4:8, 4:8].mean((1, 2, 3))
        sure = 8 / (1 + 10 * (shade - spot).abs())
        return torch.stack([torch.where(shade < 0.5, sure, 0), torch.where(shade < 0.5, 0, sure)], 1)


@pytest.fixture(scope="module")
def case():
    auxiliary = pictures(200, 0)
    shade = torch.linspace(0.1, 0.9, 20).view(-1, 1, 1, 1).expand(-1, 1, 12, 12)
    mask = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    mask[..., 4:8, 4:8] = True
    seen = Seen(torch.zeros(20, 2), masked=shade * ~mask, mask=mask)
    victim = Victim()
    view = ClassView(
        input=INPUT, classes=2, targets=(0, 1), auxiliary=Dataset(auxiliary.numpy(), torch.zeros(200).long().numpy()),
        reply=Reply.SCORES, _service=Service(lambda x: victim(x).log_softmax(1)), _models=(victim,),
    )  # fmt: skip
    return view, seen, shade


def error(view, seen, truth, **options):
    attack = SecretGen(latent=2, width=4, prior_steps=40, **options)
    shown = attack.invert(replace(view, _service=Service(view.service.ask)), seen)
    return float((shown - truth).square()[..., 4:8, 4:8].mean())


def test_the_victims_answers_and_its_weights_fill_the_part_better_than_chance(case):
    view, seen, truth = case
    without, asked = (error(view, seen, truth, draws=draws) for draws in (1, 30))
    assert asked < without / 4
    held = replace(view, reply=Reply.WEIGHTS)
    assert error(held, seen, truth, draws=4, steps=40, lr=0.1) < error(held, seen, truth, draws=4, steps=0) / 2


def test_each_filling_is_asked_about_once(case):
    view, seen, _ = case
    view = replace(view, _service=Service(view.service.ask))
    SecretGen(draws=3, latent=2, width=4, prior_steps=40).invert(view, seen)
    assert view.service.asked == 60


def test_without_a_masked_picture_it_is_refused(case):
    view, seen, _ = case
    with pytest.raises(ConfigError, match="none was seen with a part visible"):
        SecretGen().invert(view, Seen(seen.scores))
