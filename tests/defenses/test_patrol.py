import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.patrol import Patrol, lipschitz_constants
from cutlayer.defenses.shared.surrogate import Surrogate
from cutlayer.defenses.surgery.blocks import blocks
from cutlayer.defenses.surgery.budget import macs, within_budget
from cutlayer.errors import ConfigError, SplitError
from cutlayer.models import folder
from cutlayer.models.export import export_onnx
from cutlayer.models.halves import graft, split
from cutlayer.models.zoo import build
from cutlayer.registry import DEFENSES
from cutlayer.spec import image_spec
from cutlayer.split_folder import open_split

IMAGE, CPU = image_spec(1, 16, 16), torch.device("cpu")
PRUNED = {"deeper": "ReLU2", "epochs": 1, "lr": 1e-2}


@pytest.fixture(scope="module")
def data():
    """Bright or dark, with a pattern of their own that the class does not need."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=96)
    coarse = rng.random((96, 1, 4, 4), np.float32).repeat(4, 2).repeat(4, 3)
    images = coarse * 0.5 + 0.4 * labels[:, None, None, None].astype(np.float32)
    part = Dataset(images, labels)
    return Splits("made", ("dark", "bright"), part, part, part, part)


@pytest.fixture(scope="module")
def halves():
    return split(build("he_lenet", IMAGE, 2, seed=3), "ReLU1", IMAGE)


def cost(halves):
    return sum(macs(halves.head, halves.input).values())


def weights(halves):
    return {name: w.clone() for half in (halves.head, halves.tail) for name, w in half.state_dict().items()}


def test_the_pruned_deeper_head_costs_no_more_than_the_shallow_one_and_the_given_split_stays(halves, data):
    before = weights(halves)
    hardened = Patrol(**PRUNED).harden(halves, data, 0)
    unpruned = split(build("he_lenet", IMAGE, 2), "ReLU2", IMAGE)
    assert cost(hardened) <= cost(halves) < cost(unpruned)
    assert hardened.smashed.shape[1:] == unpruned.smashed.shape[1:]
    assert 0 < hardened.smashed.shape[0] <= 16
    assert len(list(hardened.head.parameters())) == 4
    images = torch.from_numpy(data.test.inputs[:1])
    assert hardened.head(images).shape == (1, *hardened.smashed.shape)
    assert hardened.tail(hardened.head(images)).shape == (1, 2)
    after = weights(halves)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_after_the_removal_the_optimizer_holds_exactly_what_is_left_and_moves_it(halves, data, monkeypatch):
    held = []

    class Watched(torch.optim.AdamW):
        def __init__(self, groups, **options):
            super().__init__(groups, **options)
            held.append([p for group in self.param_groups for p in group["params"]])
            self.start = [p.detach().clone() for p in held[-1]]
            held[-1:] = [(held[-1], self.start)]

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    hardened = Patrol(**PRUNED).harden(halves, data, 0)
    assert len(held) == 2
    (masked, _), (left, start) = held
    assert len(masked) == 4 + 6 + 2
    expected = [*hardened.head.parameters(), *hardened.tail.parameters()]
    assert {id(p) for p in left} == {id(p) for p in expected}
    assert len(left) == len(expected)
    assert all(not torch.equal(now, then) for now, then in zip(left, start, strict=True))


def test_the_masks_tell_the_channels_apart(halves, data, monkeypatch):
    recorded_strengths = []

    def recorded(groups, strengths, costs, budget):
        recorded_strengths.append(torch.cat(strengths))
        return within_budget(groups, strengths, costs, budget)

    monkeypatch.setattr("cutlayer.defenses.surgery.budget.within_budget", recorded)
    Patrol(**PRUNED | {"epochs": 60}).harden(halves, data, 0)
    before, after = recorded_strengths
    assert (before == 1).all()
    assert after.abs().min() < 0.1
    assert after.abs().max() > 0.3


def test_nothing_of_the_masks_stays_behind(halves, data):
    hardened = Patrol(**PRUNED).harden(halves, data, 0)
    for half in (hardened.head, hardened.tail):
        assert not any(module._forward_hooks for module in half.modules())
        assert not any(module.training for module in half.modules())


def test_without_weights_and_without_pruning_the_undefended_model_is_deployed(halves, data):
    assert Patrol(adversary=0, lipschitz=0).harden(halves, data, 0) is halves
    deep = Patrol(adversary=0, lipschitz=0, deeper="ReLU2", budget=0).harden(halves, data, 0)
    images = torch.from_numpy(data.test.inputs)
    assert deep.smashed.shape == (16, 2, 2)
    assert torch.equal(deep.tail(deep.head(images)), halves.tail(halves.head(images)))


def test_a_weight_of_zero_builds_no_adversary_and_measures_no_constant(halves, data, monkeypatch):
    def never(*_):
        raise AssertionError("a weight of 0 is a weight of 0")

    monkeypatch.setattr("cutlayer.defenses.patrol.lipschitz_constants", never)
    monkeypatch.setattr("cutlayer.defenses.shared.surrogate.Surrogate.__init__", never)
    Patrol(adversary=0, lipschitz=0, **PRUNED).harden(halves, data, 0)
    for weight in ({"adversary": 1}, {"lipschitz": 1}):
        with pytest.raises(AssertionError):
            Patrol(**({"adversary": 0, "lipschitz": 0} | weight | PRUNED)).harden(halves, data, 0)


def rebuilt(halves, data):
    """Error of a fresh decoder, trained on what the head sends."""
    surrogate = Surrogate("conv_normN0C16", halves.smashed.shape, IMAGE.shape, 7, CPU, "mse", lr=1e-2)
    surrogate.pretrain(halves.head, data.train, epochs=15, batch=32)
    images = torch.from_numpy(data.train.inputs)
    with torch.no_grad():
        return -float(surrogate.quality(halves.head(images), images))


def test_the_adversary_makes_a_fresh_decoder_worse(halves, data):
    common = {"lipschitz": 0, "epochs": 15, "lr": 1e-2}
    with_one = Patrol(adversary=30.0, **common).harden(halves, data, 0)
    assert rebuilt(with_one, data) > 1.5 * rebuilt(halves, data)


def constants(halves, data):
    images = torch.from_numpy(data.test.inputs)
    both = torch.cat([images, images + 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))])
    with torch.no_grad():
        return lipschitz_constants([both, *blocks(halves.head)(both)])


def test_the_lipschitz_term_lowers_the_constants_of_the_blocks(halves, data):
    lowered = constants(Patrol(adversary=0, lipschitz=1.0, epochs=15, lr=1e-2).harden(halves, data, 0), data)
    assert lowered.sum() < 0.8 * constants(halves, data).sum()


def test_the_constant_of_a_linear_map_is_its_factor():
    x = torch.rand(8, 2, 3, 3)
    values = [x, 3 * x, -1.5 * x]
    torch.testing.assert_close(lipschitz_constants(values), torch.tensor([3.0, 0.5]))
    still = torch.cat([x[:4], x[:4]])
    assert lipschitz_constants([still, still]).isfinite().all()


def test_a_folder_of_it_loads_again(halves, data, tmp_path):
    options = {"adversary": 1.0, **PRUNED}
    hardened = Patrol(**options).harden(halves, data, 0)
    defense = {"name": "patrol", **options}
    written = folder.save(tmp_path / "split", hardened, model="he_lenet", classes=2, defense=defense, data=None)
    opened = open_split(tmp_path / "split")
    manifest, loaded = opened.manifest, opened.halves()
    images = torch.from_numpy(data.test.inputs)
    assert manifest == written
    assert loaded.smashed == hardened.smashed
    assert torch.equal(loaded.tail(loaded.head(images)), hardened.tail(hardened.head(images)))
    deep = split(build("he_lenet", IMAGE, 2), "ReLU2", IMAGE)
    export_onnx(deep.head, IMAGE, tmp_path / "deep.onnx", "image", "smashed")
    assert (tmp_path / "split" / "head.onnx").stat().st_size < (tmp_path / "deep.onnx").stat().st_size


def test_it_goes_on_from_where_another_defense_has_cut(halves, data):
    to_head, to_tail = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
    narrowed = graft(halves, "bottleneck", to_head=to_head, to_tail=to_tail)
    hardened = Patrol(adversary=1.0, epochs=1, budget=0.4).harden(narrowed, data, 0)
    assert hardened.smashed.shape[0] <= 4
    assert hardened.smashed.shape[1:] == (12, 12)
    assert cost(hardened) <= 0.4 * cost(narrowed)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"deeper": "conv1"}, ConfigError, "does not come after ReLU1"),
        ({"deeper": "ReLU9"}, SplitError, "cannot be cut at"),
        ({"budget": 1e-4, **PRUNED}, ConfigError, "Pruned as far as allowed"),
    ],
)
def test_an_impossible_option_is_refused(options, error, message, halves, data):
    with pytest.raises(error, match=message):
        DEFENSES.make("patrol", **options).harden(halves, data, 0)
