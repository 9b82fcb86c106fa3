from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cutlayer.defenses.ressfl import EXPERTS, ResSFL
from cutlayer.defenses.shared.surrogate import Surrogate
from cutlayer.errors import ConfigError, SplitError
from cutlayer.experiment import plan
from cutlayer.models import folder
from cutlayer.models.halves import SplitModel, split
from cutlayer.models.zoo import build
from cutlayer.spec import image_spec
from tests.defenses.victims import last_quality, small_lenet, smooth_images

LIGHT = {"bottleneck": "noRELU_C4S1", "decoder": "conv_normN0C16", "epochs": 1}


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    weights = second.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize(
    ("model", "smashed"),
    [
        ("vgg11_bn", {"features.3": (1, 16, 16), "features.7": (8, 8, 8), "features.10": (12, 8, 8)}),
        ("resnet20", {"layer1.0": (1, 16, 16), "layer1.1": (1, 32, 32), "layer1.2": (2, 32, 32)}),
        ("mobilenet_v2", {"features.1": (1, 16, 16), "features.3": (2, 8, 8), "features.6": (4, 4, 4)}),
    ],
)
def test_every_published_expert_can_be_built(model, smashed):
    assert {cut for name, cut in EXPERTS if name == model} == set(smashed)
    image = image_spec(3, 32, 32)
    built = build(model, image, 10)
    for cut, shape in smashed.items():
        halves = ResSFL(**EXPERTS[model, cut]).surgery(split(built, cut, image))
        assert halves.smashed.shape == shape
        assert halves.smashed.low == (0.0 if model == "mobilenet_v2" else None)
        with torch.no_grad():
            assert halves.tail(halves.head(torch.rand(1, *image.shape))).shape == (1, 10)


@pytest.mark.parametrize("bottleneck", ["", "noRELU_C4S1"])
def test_the_head_moves_away_from_what_the_decoder_rebuilds(monkeypatch, bottleneck):
    options = {**LIGHT, "bottleneck": bottleneck, "threshold": 0.0, "epochs": 8}
    against, unmoved = (last_quality(monkeypatch, ResSFL(**options, weight=weight)) for weight in (10.0, 1e-9))
    assert against < unmoved - 0.03


def test_a_threshold_that_no_decoder_reaches_is_a_weight_of_zero():
    weightless = ResSFL(**LIGHT, weight=0.0).harden(small_lenet(), smooth_images(), seed=0)
    unreached = ResSFL(**LIGHT, weight=0.9, threshold=1.0).harden(small_lenet(), smooth_images(), seed=0)
    weighty = ResSFL(**LIGHT, weight=0.9, threshold=0.0).harden(small_lenet(), smooth_images(), seed=0)
    assert same(weightless.head, unreached.head)
    assert same(weightless.tail, unreached.tail)
    assert not same(weightless.head, weighty.head)


def test_the_decoder_learns_as_often_as_the_options_state(monkeypatch):
    calls = []
    monkeypatch.setattr(Surrogate, "learn", lambda self, smashed, images: calls.append(len(images)))
    ResSFL(**{**LIGHT, "epochs": 2}, steps=2, every=4, pretrain_epochs=0).harden(small_lenet(), smooth_images(), seed=0)
    # Three batches an epoch, so it is the first and the fifth of six.
    assert calls == [54, 54, 53, 53]


def test_the_decoder_sees_the_images_as_the_head_does(monkeypatch):
    seen, quality = [], Surrogate.quality

    def noted(surrogate: Surrogate, smashed: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        seen.extend(images)
        return quality(surrogate, smashed, images)

    monkeypatch.setattr(Surrogate, "quality", noted)
    ResSFL(**LIGHT, flip=True, pretrain_epochs=0).harden(small_lenet(), smooth_images(), seed=0)
    shown, originals = torch.stack(seen), torch.from_numpy(smooth_images().train.inputs)
    as_they_are, mirrored = (
        (shown[:, None] == images[None]).all(dim=(2, 3, 4)).any(1) for images in (originals, originals.flip(-1))
    )
    assert (as_they_are ^ mirrored).all()
    assert 0.3 < mirrored.float().mean() < 0.7


def test_seeds_differ_and_one_seed_does_not():
    first, again, other = (ResSFL(**LIGHT).harden(small_lenet(), smooth_images(), seed) for seed in (0, 0, 1))
    assert same(first.head, again.head)
    assert not same(first.head, other.head)


def transferred(monkeypatch, target: SplitModel, **options: object) -> tuple[SplitModel, SplitModel]:
    """An expert, and what became of the target that it started off."""
    expert = ResSFL(**LIGHT).harden(small_lenet(seed=1), smooth_images(), seed=0)
    monkeypatch.setattr("cutlayer.split_folder.open_split", lambda path: SimpleNamespace(halves=lambda: expert))
    return expert, ResSFL(**{**LIGHT, **options}, source="expert").harden(target, smooth_images(), seed=0)


def test_transfer_starts_from_the_whole_head_and_what_fits_of_the_tail(monkeypatch):
    target = small_lenet(classes=5)
    expert, halves = transferred(monkeypatch, target, epochs=0)
    assert same(halves.head, expert.head)
    theirs, own, now = (model.tail.state_dict() for model in (expert, target, halves))
    assert torch.equal(now["bottleneck.weight"], theirs["bottleneck.weight"])
    assert torch.equal(now["conv2.weight"], theirs["conv2.weight"])
    assert torch.equal(now["fc3.weight"], own["fc3.weight"])


def test_a_transfer_takes_the_split_folder_of_a_finished_run(tmp_path):
    expert = ResSFL(**LIGHT)
    hardened = expert.harden(small_lenet(seed=1), smooth_images(), seed=0)
    description = {"name": "ressfl", **LIGHT}
    folder.save(tmp_path / "split", hardened, model="he_lenet", classes=2, defense=description, data="made")
    transfer = ResSFL(**LIGHT | {"epochs": 0}, source=str(tmp_path / "split"))
    halves = transfer.harden(small_lenet(), smooth_images(), seed=0)
    assert same(halves.head, hardened.head)
    with pytest.raises(SplitError, match="no split folder"):
        ResSFL(**LIGHT, source=str(tmp_path / "absent")).harden(small_lenet(), smooth_images(), seed=0)


def test_the_transfer_plan_starts_from_the_expert_of_its_own_plan():
    plans = Path(__file__).parents[2] / "experiments"
    expert, *_ = (run for run in plan.load(plans / "ressfl-expert.toml") if run.defense.name == "ressfl")
    transfers = [run for run in plan.load(plans / "ressfl-transfer.toml") if "source" in run.defense.options]
    assert {run.seed for run in transfers} == {0, 1}
    for run in transfers:
        assert run.defense.options["source"] == f"runs/{expert.id}/split"
        assert (run.model, run.cut) == (expert.model, expert.cut)
        assert run.defense.options.get("bottleneck") == expert.defense.options.get("bottleneck")


def test_a_frozen_head_stays_the_experts_and_a_slow_one_stays_near_it(monkeypatch):
    expert, frozen = transferred(monkeypatch, small_lenet(), weight=0.0, head_lr_scale=0.0)
    assert same(frozen.head, expert.head)
    assert not same(frozen.tail, expert.tail)

    def moved(scale: float) -> float:
        _, halves = transferred(monkeypatch, small_lenet(), weight=0.0, head_lr_scale=scale)
        return float((halves.head.bottleneck.weight - expert.head.bottleneck.weight).detach().norm())

    assert 0 < moved(0.1) < moved(1.0) / 2


def test_a_transfer_from_another_head_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="No transfer: the head in expert sends"):
        transferred(monkeypatch, small_lenet(), bottleneck="noRELU_C2S1")
    with pytest.raises(ConfigError, match="other layers"):
        transferred(monkeypatch, small_lenet(), bottleneck="noRELU_K5C4S1")


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="bottleneck"):
        ResSFL(bottleneck="narrow")
    with pytest.raises(ConfigError, match="decoder"):
        ResSFL(decoder="strong").harden(small_lenet(), smooth_images(), seed=0)
