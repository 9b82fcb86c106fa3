"""Each defense that changes the update changes it as its formula says (A20)."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy import fft
from torch import nn
from torch.nn import functional

from cutlayer.attacks.gradients.client import gradients
from cutlayer.defenses.updates.base import Local, UpdateDefense
from cutlayer.defenses.updates.censor import orthogonal
from cutlayer.defenses.updates.grad_defense import slice_ends
from cutlayer.defenses.updates.pfgd import dct4
from cutlayer.errors import ConfigError
from cutlayer.registry import UPDATE_DEFENSES
from tests.defenses.updates import test_contract
from tests.defenses.updates.test_contract import ROWS, rng


def of(name: str, **options: Any) -> UpdateDefense:
    return UPDATE_DEFENSES.make(name, **options)


@functools.cache
def client(round: int = 0) -> Local:
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Sigmoid(), nn.Linear(32, 4))
        return Local(model, torch.rand(8, 1, 8, 8), torch.arange(8) % 4, round)


@pytest.fixture(scope="module")
def update() -> dict[str, torch.Tensor]:
    made = client()
    return gradients(made.model, made.inputs, made.labels)


def flat(update: Any) -> torch.Tensor:
    return torch.cat([value.flatten() for value in update.values()])


def sent_by(defense: UpdateDefense, update: Any, seed: int = 0, state: Any = None, round: int = 0) -> Any:
    return defense.protect_update(update, rng(seed), {} if state is None else state, client(round))


def dropped(sent: Any, name: str) -> int:
    return int((sent[name] == 0).sum())


# A20: a map that returns its input is found.


@dataclass(kw_only=True)
class Idle(UpdateDefense):
    """Compute noise, and return the update as it was given, as some released code does."""

    knob = "sigma"
    plain_words = "does nothing, and does not say so"
    sigma: float = 0.1

    def protect(self, update: Any, rng: np.random.Generator, state: Any, local: Any) -> Any:
        {name: value + self.sigma * torch.randn(value.shape) for name, value in update.items()}
        return update


def test_a20_a_map_that_returns_its_input_fails_the_contract(update, monkeypatch):
    row = test_contract.Row("idle", {}, twin="none")
    monkeypatch.setattr(test_contract.Row, "make", lambda self, **other: Idle())
    with pytest.raises(AssertionError):
        test_contract.test_what_it_acts_on_is_changed(row, client(), update)


@pytest.mark.parametrize("row", [row for row in ROWS if row.twin == "equal"], ids=lambda row: repr(row.make()))
def test_numpy_and_torch_get_the_same_update(row, update):
    if row.name == "censor":
        pytest.skip("numpy and torch draw different directions")
    arrays = {name: value.numpy() for name, value in update.items()}
    ours, theirs = (sent_by(row.make(), given) for given in (arrays, update))
    for name, value in theirs.items():
        assert isinstance(ours[name], np.ndarray)
        assert ours[name].dtype == np.float32
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["soteria", "grad-defense", "outpost", "censor", "dgc"])
def test_one_that_looks_at_the_client_says_so_where_it_cannot(name, update):
    with pytest.raises(ConfigError, match="looks at the client's samples and model"):
        of(name).protect_update(update, rng(), {}, None)


# One by one.


def test_noise_has_the_stated_deviation_and_is_added_to_what_was_clipped(update):
    for bound in (0.0, 0.5):
        noise = flat(sent_by(of("noise", sigma=0.3, bound=bound), update))
        short = flat(sent_by(of("clip", bound=bound), update))
        added = noise - short
        assert added.std().item() == pytest.approx(0.3, rel=0.05)
        assert abs(added.mean().item()) < 4 * 0.3 / math.sqrt(len(added))


def test_clipping_shortens_what_is_long_and_leaves_what_is_short(update):
    long = flat(update).norm().item()
    sent = flat(sent_by(of("clip", bound=long / 3), update))
    assert sent.norm().item() == pytest.approx(long / 3, rel=1e-5)
    assert functional.cosine_similarity(sent, flat(update), 0).item() == pytest.approx(1, abs=1e-6)
    assert torch.equal(flat(sent_by(of("clip", bound=long * 1.01), update)), flat(update))


def test_pruning_drops_the_share_at_its_end_of_each_layer(update):
    for name, value in update.items():
        for drop in ("smallest", "largest"):
            sent = sent_by(of("prune", rate=0.3, drop=drop), update)[name]
            gone, left = value[sent == 0].abs(), value[sent != 0].abs()
            assert len(gone) == int(0.3 * value.numel())
            assert torch.equal(sent[sent != 0], value[sent != 0])
            if len(gone):
                assert gone.max() <= left.min() if drop == "smallest" else gone.min() >= left.max()
    with pytest.raises(ConfigError, match="smallest or largest"):
        of("prune", drop="middle")


@pytest.mark.parametrize("name", ["prune", "dgp"])
def test_what_was_held_back_is_sent_later(name, update):
    defense = of(name, **({"held_back": True} if name == "prune" else {}))
    state: dict[str, Any] = {}
    first = sent_by(defense, update, state=state)
    second = sent_by(defense, {key: 0.5 * value for key, value in update.items()}, state=state)
    for key, value in update.items():
        total = first[key] + second[key] + torch.from_numpy(state[f"residual/{key}"])
        torch.testing.assert_close(total, 1.5 * value)
    assert not torch.equal(flat(second) != 0, flat(first) != 0)


def test_dual_pruning_sends_the_middle(update):
    name = "1.weight"
    sent, value = sent_by(of("dgp"), update)[name], update[name]
    order = value.abs().flatten().argsort()
    expected = torch.zeros(len(order))
    expected[order[1536:-102]] = value.flatten()[order[1536:-102]]
    assert torch.equal(sent.flatten(), expected)


def test_deep_gradient_compression_is_the_algorithm_of_the_paper(update):
    defense = of("dgc", sparsity=0.9, momentum=0.8, bound=0.2, clients=4, warmup=0)
    state: dict[str, Any] = {}
    u = {name: np.zeros(value.shape) for name, value in update.items()}
    v = {name: np.zeros(value.shape) for name, value in update.items()}
    for step in range(4):
        given = {name: value * (1 + step) for name, value in update.items()}
        sent = sent_by(defense, given, state=state)
        short = min(1.0, 0.1 / flat(given).norm().item())
        for name, value in given.items():
            u[name] = 0.8 * u[name] + short * value.double().numpy()
            v[name] = v[name] + u[name]
            size = np.sort(np.abs(v[name]).ravel())
            mask = np.abs(v[name]) >= size[int(0.9 * size.size)]
            np.testing.assert_allclose(sent[name], v[name] * mask, rtol=1e-4, atol=1e-7)
            u[name], v[name] = u[name] * ~mask, v[name] * ~mask


def test_the_warm_up_of_deep_gradient_compression_is_that_of_the_paper(update):
    wide = {"w": torch.randn(100_000, generator=torch.Generator().manual_seed(0))}
    shares = [dropped(sent_by(of("dgc"), wide, round=round), "w") / 100_000 for round in range(6)]
    assert shares == pytest.approx([0.75, 0.9375, 0.984, 0.996, 0.999, 0.999], abs=2e-3)


def test_the_cosine_transform_is_the_orthonormal_one_and_its_own_inverse():
    for n in (1, 2, 7, 64):
        values = np.random.default_rng(n).standard_normal(n)
        np.testing.assert_allclose(dct4(values), fft.dct(values, type=4, norm="ortho"), atol=1e-12)
        np.testing.assert_allclose(dct4(dct4(values)), values, atol=1e-12)


def test_the_first_coefficients_are_gone_and_the_others_stay(update):
    sent = sent_by(of("pfgd", rate=0.05), update)
    before, after = (dct4(of["1.weight"].double().flatten()) for of in (update, sent))
    assert after[:102].abs().max() < 1e-6
    torch.testing.assert_close(after[102:], before[102:], atol=1e-6, rtol=1e-4)
    assert torch.equal(sent["3.bias"], update["3.bias"]), "4 numbers have no 5 %"


def test_soteria_drops_the_columns_of_the_least_derivative_over_size(update):
    local = client()
    inner = local.model[:3]
    derived = torch.func.vmap(torch.func.jacrev(lambda x: inner(x[None])[0]))(local.inputs)
    score = (derived.flatten(2).norm(dim=2) / inner(local.inputs).abs()).sum(0)
    gone = score.argsort()[: int(0.6 * 32)]
    sent = sent_by(of("soteria", rate=0.6), update)
    columns = (sent["3.weight"] == 0).all(0)
    assert torch.equal(columns.nonzero().flatten(), gone.sort().values)
    assert torch.equal(sent["3.weight"][:, ~columns], update["3.weight"][:, ~columns])
    for name in ("1.weight", "1.bias", "3.bias"):
        assert torch.equal(sent[name], update[name])
    first = sent_by(of("soteria", layer="1"), update)
    assert (first["1.weight"] == 0).all(0).sum() == int(0.8 * 64)
    with pytest.raises(ConfigError, match="no fully connected layer '7'; it has 1, 3"):
        sent_by(of("soteria", layer="7"), update)


def test_slices_have_equal_sensitivity():
    ends = slice_ends({"a": 100, "b": 100}, {"a": 3.0, "b": 1.0}, 4)
    assert ends.tolist() == [0, 33, 67, 100, 200]
    assert slice_ends({"a": 8}, {"a": 0.0}, 4).tolist() == [0, 2, 4, 6, 8]


def test_grad_defense_changes_some_slices_and_draws_them_anew(update):
    chosen = set()
    for seed in range(4):
        changed = flat(sent_by(of("grad-defense", perturbed=3, sigma=0.1, bound=0.01), update, seed)) != flat(update)
        edges = (changed[1:] != changed[:-1]).sum().item()
        assert 1 <= edges <= 6, "three runs of numbers at most are changed, and within a run all are"
        chosen.add((int(changed.nonzero()[0]), int(changed.sum())))
    assert len(chosen) > 1
    whole = flat(sent_by(of("grad-defense", perturbed=99, sigma=1e-9, bound=0.01), update))
    assert whole.norm() < 0.01 * math.sqrt(10) + 1e-3
    assert (whole != flat(update)).all()


def test_who_looks_for_long_numbers_finds_most_of_the_noise_of_grad_defense(update):
    defense = of("grad-defense", perturbed=3, sigma=0.2)
    sent = sent_by(defense, update)
    twin = defense.twin(sent, rng())
    assert twin is not None
    changed, found = flat(sent) != flat(update), flat(twin(update)) == flat(sent)
    assert found[changed].float().mean() > 0.95
    kept = flat(twin({name: value + 1 for name, value in update.items()})) == flat(update) + 1
    assert kept[~changed].float().mean() > 0.5


def test_outpost_prunes_and_adds_noise_where_the_squares_are_great(update):
    sent = sent_by(of("outpost", sigma=5.0, pruned=0.3, phi=0.25), update)
    square = flat(update).square()
    least = square.sort().values[-int(0.25 * len(square))]
    weights = dict(client().model.named_parameters())
    for name, value in update.items():
        noisy = value.square() >= least
        small = value.abs().flatten().argsort()[: int(0.3 * value.numel())]
        pruned = value.flatten().index_fill(0, small, 0.0).view_as(value)
        assert torch.equal(sent[name][~noisy], pruned[~noisy])
        added = (sent[name] - pruned)[noisy]
        if len(added) > 100:
            risk = weights[name].var(correction=0).item()
            assert added.std().item() == pytest.approx(5.0 * risk, rel=0.2)
    assert flat(sent).ne(flat(update)).sum() > 0.4 * len(square), "the released code returns what it was given"


def test_outpost_changes_less_often_in_later_rounds(update):
    def changed(round: int) -> int:
        sent = (sent_by(of("outpost", decay=0.5), update, seed, round=round) for seed in range(60))
        return sum(not torch.equal(flat(one), flat(update)) for one in sent)

    assert changed(0) == 60
    assert 4 <= changed(6) <= 27, "a quarter is expected"


def test_censor_sends_an_orthogonal_direction_of_the_same_length(update):
    sent = sent_by(of("censor", trials=2), update)
    for name, value in update.items():
        g, s = value.double().flatten(), sent[name].double().flatten()
        assert abs(float(g @ s) / float(g @ g)) < 1e-5, "not orthogonal"
        assert s.norm().item() == pytest.approx(g.norm().item(), rel=1e-5)
    torch.testing.assert_close(sent_by(of("censor", trials=2), update, round=10), update)


def test_the_released_projection_of_censor_is_not_orthogonal():
    generator = torch.Generator().manual_seed(0)
    g, r = torch.randn(2, 50, generator=generator)
    released = r - (r @ g) / g.norm() * g
    assert abs(functional.cosine_similarity(released, g, 0)) > 0.1
    assert abs(functional.cosine_similarity(orthogonal(g, rng()), g, 0)) < 1e-6
    assert orthogonal(torch.ones(1), rng()).tolist() == [0.0]
    assert orthogonal(torch.zeros(3), rng()).tolist() == [0.0, 0.0, 0.0]


def test_censor_takes_the_direction_of_the_least_loss(update):
    def loss(sent: Any, step: float) -> float:
        local = client()
        model = copy.deepcopy(local.model)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.add_(step * sent[name])
            return float(functional.cross_entropy(model(local.inputs), local.labels))

    # A gradient is subtracted, and a change of weights is added.
    for step, local in ((-0.5, client()), (1.0, client()._replace(local_steps=1))):
        sent = [of("censor", trials=n, lr=0.5).protect_update(update, rng(), {}, local) for n in (12, 1)]
        best, first = (loss(of, step) for of in sent)
        assert best < first


@pytest.mark.parametrize(("bits", "levels"), [(8, 127), (4, 7), (2, 1)])
def test_quantization_rounds_to_the_levels(bits, levels, update):
    sent = sent_by(of("quantize", bits=bits), update)
    random = sent_by(of("quantize", bits=bits, rounding="stochastic"), update)
    for name, value in update.items():
        step = value.abs().max() / levels
        for found, error in ((sent[name], 0.5), (random[name], 1.0)):
            torch.testing.assert_close((found / step).round(), found / step, atol=1e-3, rtol=0)
            assert ((found - value).abs() <= error * step * (1 + 1e-4)).all()


def test_stochastic_rounding_keeps_the_mean_and_mixed_bits_go_by_layer(update):
    for bits in (2, 1):
        drawn = [flat(sent_by(of("quantize", bits=bits, rounding="stochastic"), update, seed)) for seed in range(50)]
        error = torch.stack(drawn).mean(0) - flat(update)
        top = max(value.abs().max() for value in update.values())
        assert error.abs().max() < 6 * top / math.sqrt(50)
    sent = sent_by(of("quantize", mixed=(1, 4)), update)
    values = [len(sent[name].unique()) for name in ("1.weight", "1.bias", "3.weight")]
    assert values[0] == 2
    assert all(2 < n <= 15 for n in values[1:])
    torch.testing.assert_close(sent["1.weight"].abs().unique(), update["1.weight"].abs().mean()[None])


def test_the_autoencoder_keeps_what_its_first_update_spans(update):
    defense, state = of("autoencoder", ratio=4.0, chunk=32), {}
    sent = sent_by(defense, update, state=state)
    assert {*state} == {"decoder"}
    decoder = torch.from_numpy(state["decoder"].copy())
    assert decoder.shape == (8, 32)
    torch.testing.assert_close(decoder @ decoder.T, torch.eye(8), atol=1e-5, rtol=0)
    assert torch.linalg.matrix_rank(sent["1.weight"].view(-1, 32), rtol=1e-4) == 8
    left = (flat(sent) - flat(update)).norm() / flat(update).norm()
    turned = torch.linalg.qr(torch.randn(32, 8, generator=torch.Generator().manual_seed(0)))[0].T.numpy()
    other = (flat(sent_by(defense, update, state={"decoder": turned})) - flat(update)).norm() / flat(update).norm()
    assert left < 0.8 * other
    sent_by(defense, {name: value.flip(0) for name, value in update.items()}, state=state)
    assert torch.equal(torch.from_numpy(state["decoder"]), decoder), "the decoder stays as it was trained"


def test_whole_layers_are_left_out_with_the_stated_probability(update):
    gone = [
        [bool((sent[name] == 0).all()) for name in update]
        for seed in range(100)
        for sent in [sent_by(of("layer-prune", rate=0.3), update, seed)]
    ]
    shares = np.mean(gone, axis=0)
    assert (np.abs(shares - 0.3) < 0.17).all()
    assert all(weight == bias for weight, bias in zip(*np.array(gone).T[:2], strict=True))


def test_the_layer_that_tells_most_is_left_out(update):
    sent = sent_by(of("layer-prune", by="sensitivity", rate=0.5), update)
    gone = {name for name in update if not sent[name].any()}
    assert gone in ({"1.weight", "1.bias"}, {"3.weight", "3.bias"})
    local = client()
    x = local.inputs.clone().requires_grad_()
    found = gradients(local.model, x, local.labels, create_graph=True)
    told = {
        name: torch.autograd.grad(value.sum(), x, retain_graph=True)[0].flatten(1).norm(dim=1).mean()
        for name, value in found.items()
    }
    most = "1" if told["1.weight"] + told["1.bias"] > told["3.weight"] + told["3.bias"] else "3"
    assert gone == {f"{most}.weight", f"{most}.bias"}


def test_a_perturbed_learning_rate_changes_the_length_alone(update):
    scales = []
    for seed in range(50):
        ratio = flat(sent_by(of("lr-perturbation", spread=0.5), update, seed)) / flat(update)
        assert ratio.std() < 1e-5
        scales.append(ratio[0].item())
    assert 0.5 <= min(scales) < 0.6
    assert 1.4 < max(scales) <= 1.5
