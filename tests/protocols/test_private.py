"""DP-SGD of a client's head: gradients of single samples (A21), clipping, noise, the accountant, a whole training."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.defenses.shared import accountant
from cutlayer.errors import ConfigError
from cutlayer.protocols.averaging import averaged
from cutlayer.protocols.plan import Privacy, load, parse, toml
from cutlayer.protocols.private import PrivateGradients, epsilon, guarantee
from tests.protocols.direct import Run, dataset, model, planned


def head() -> nn.Sequential:
    return nn.Sequential(*list(model(bn=False).children())[:3]).train()


def given(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 8, 8, generator=random), torch.randn(n, 4, 4, 4, generator=random) / n


def private(clip: float, noise: float, n: int = 6, seed: int = 0) -> list[torch.Tensor]:
    """The gradients of a batch, clipped and with noise."""
    layers = head()
    gradients = PrivateGradients(layers, Privacy(clip, noise))
    inputs, cut = given(n)
    gradients.apply(inputs, cut, np.random.default_rng(seed))
    return [p.grad for p in layers.parameters()]


def one_by_one(n: int = 6) -> list[list[torch.Tensor]]:
    """The gradient of each sample, computed alone; those of the mean loss are their mean."""
    layers, found = head(), []
    inputs, cut = given(n)
    for sample in range(n):
        layers.zero_grad()
        layers(inputs[sample : sample + 1]).backward(n * cut[sample : sample + 1])
        found.append([p.grad.clone() for p in layers.parameters()])
    return found


def test_a21_without_noise_each_sample_is_clipped_as_if_it_were_computed_alone() -> None:
    samples = one_by_one()
    lengths = [math.sqrt(sum(float(g.square().sum()) for g in of)) for of in samples]
    for clip in (1e6, float(np.median(lengths)), 1e-3):
        factors = [min(1.0, clip / length) for length in lengths]
        expected = [sum(f * g for f, g in zip(factors, of, strict=True)) / 6 for of in zip(*samples, strict=True)]
        for ours, right in zip(private(clip, 0.0), expected, strict=True):
            torch.testing.assert_close(ours, right, rtol=1e-5, atol=1e-6)


def test_one_sample_more_moves_the_sum_by_no_more_than_the_bound() -> None:
    layers, clip = head(), 0.5
    gradients = PrivateGradients(layers, Privacy(clip, 0.0))
    inputs, cut = given(6)
    sums = []
    for n in (5, 6):
        gradients.apply(inputs[:n], 100 * cut[:n] * 6 / n, np.random.default_rng(0))
        sums.append(torch.cat([n * p.grad.flatten() for p in layers.parameters()]))
    assert (sums[0] - sums[1]).norm() <= clip * (1 + 1e-4)
    assert sums[1].norm() > clip


def test_the_noise_has_the_stated_deviation() -> None:
    plain = private(0.5, 0.0)
    drawn = [[a - b for a, b in zip(private(0.5, 3.0, seed=seed), plain, strict=True)] for seed in range(60)]
    values = torch.cat([g.flatten() for of in drawn for g in of])
    assert values.std().item() == pytest.approx(3.0 * 0.5 / 6, rel=0.05)
    assert all(torch.equal(a, b) for a, b in zip(private(0.5, 3.0), private(0.5, 3.0), strict=True))


def test_the_accountant_knows_the_figure_of_the_literature() -> None:
    """A noise of 0.622 at 64 of 6,000 samples and 940 steps gives epsilon 8 at delta 1e-5."""
    plan = planned(batch=64, rounds=10, dp={"clip": 1.0, "noise": 0.622})
    assert epsilon(plan, 6016) == pytest.approx(8, rel=0.05)
    assert epsilon(planned(dp={"clip": 1.0, "noise": 0.0}), 100) == math.inf
    # Opacus 1.6.0, RDPAccountant, which tries orders between whole numbers too: 7.9922, 5.3676, 7.0774, 8.9439.
    for noise, share, steps, theirs in (
        (0.622, 64 / 6000, 940, 7.9922),
        (1.0, 0.05, 200, 5.3676),
        (5.0, 1.0, 50, 7.0774),
        (2.0, 0.1, 1000, 8.9439),
    ):
        assert accountant.epsilon(noise, share, steps, 1e-5) == pytest.approx(theirs, rel=0.02)
        assert accountant.epsilon(noise, share, steps, 1e-5) >= theirs - 1e-3
    text = guarantee(plan, 6016)
    assert re.match(r"DP-SGD gives epsilon \d\.\d\d at delta 1e-05 for one sample of a client that holds 6,016, ", text)
    assert "Not protected by it are the smashed data and the labels" in text
    assert guarantee(plan).startswith("DP-SGD gives an epsilon that depends on the number of samples, at delta 1e-05")
    assert guarantee(planned()) == ""


def test_a_training_with_a_great_bound_and_no_noise_is_nearly_the_training_without() -> None:
    plain, bounded = (
        Run(planned(rounds=1, clients=2, **options), make=lambda: model(bn=False)).checked()
        for options in ({}, {"dp": {"clip": 1e6, "noise": 0.0}})
    )
    for name, value in plain.whole(2).items():
        torch.testing.assert_close(bounded.whole(2)[name], value, rtol=1e-3, atol=1e-4)


def test_a_training_with_noise_goes_on_from_a_checkpoint_with_the_same_bits() -> None:
    plan = planned(rounds=2, clients=2, dp={"clip": 1.0, "noise": 0.5})
    whole = Run(plan, make=lambda: model(bn=False)).checked()
    again = Run(plan, make=lambda: model(bn=False), after=(copy.copy(whole), 1)).checked()
    noiseless = Run(planned(rounds=2, clients=2), make=lambda: model(bn=False)).checked()
    ours, theirs, other = (run.whole(2) for run in (whole, again, noiseless))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert not torch.equal(ours["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize(
    ("protocol", "changes", "message"),
    [
        ("vanilla", {"dp": {"clip": 1.0, "unit": "class"}}, "dp hides no class"),
        ("fedavg", {"dp": {"clip": 1.0, "unit": "client"}}, "dp.unit must be record or class"),
        ("local-loss", {}, "local-loss has other gradients"),
        ("u-shaped", {"end": "relu3"}, "u-shaped has other gradients"),
        ("vanilla", {"micro_batches": 2}, "set micro_batches = 1"),
        ("vanilla", {"dp": {"clip": -1.0}}, "dp.clip must be"),
        ("vanilla", {"dp": {"clip": 1.0, "delta": 0.0}}, "dp.delta must be"),
    ],
)
def test_what_cannot_be_private_is_refused(protocol: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(protocol, **{"dp": {"clip": 1.0}, **changes})


def test_a_head_that_mixes_samples_or_draws_is_refused_with_the_way_out() -> None:
    for layer, words in (
        (nn.BatchNorm2d(2), "1 mixes those of a batch; set bn = 'replaced'"),
        (nn.Dropout(), "1 draws"),
    ):
        with pytest.raises(ConfigError, match=words):
            PrivateGradients(nn.Sequential(nn.Conv2d(1, 2, 3), layer).train(), Privacy(1.0))


def test_a_model_with_a_loss_of_its_own_is_refused() -> None:
    layers = model(bn=False)
    layers.training_loss = lambda inputs, labels: torch.zeros(())
    with pytest.raises(ConfigError, match="a loss of its own; leave dp out"):
        PrivateGradients(layers, Privacy(1.0))


def test_the_gradient_passes_through_a_defense_of_the_smashed_data() -> None:
    options = {"rounds": 1, "clients": 1, "defense": {"name": "dropout", "rate": 0.3}}
    plain, bounded = (
        Run(planned(**options, **more), make=lambda: model(bn=False)).checked()
        for more in ({}, {"dp": {"clip": 1e6, "noise": 0.0}})
    )
    for name, value in plain.whole(1).items():
        torch.testing.assert_close(bounded.whole(1)[name], value, rtol=1e-3, atol=1e-4)


def losses(
    unit: str = "record", clip: float = 1e6, noise: float = 0.0, n: int = 8, seed: int = 0
) -> list[torch.Tensor]:
    """The gradients of a whole model for a batch of four classes, clipped and with noise."""
    whole = model(bn=False)
    inputs, labels = torch.from_numpy(dataset(8, 3).inputs), torch.arange(8) % 3
    PrivateGradients(whole, Privacy(clip, noise, unit=unit)).apply_loss(
        inputs[:n], labels[:n], np.random.default_rng(seed)
    )
    return [p.grad for p in whole.parameters()]


def test_a21_gradients_of_single_samples_of_a_whole_model_are_those_of_one_at_a_time() -> None:
    whole, inputs, labels = model(bn=False), torch.from_numpy(dataset(8, 3).inputs), torch.arange(8) % 3
    found = PrivateGradients(whole, Privacy(1.0)).of_losses(inputs, labels)
    for sample in range(8):
        whole.zero_grad()
        nn.functional.cross_entropy(whole(inputs[sample : sample + 1]), labels[sample : sample + 1]).backward()
        for name, p in whole.named_parameters():
            assert (found[name][sample] - p.grad).abs().max() < 1e-6


def test_one_sample_or_one_class_more_moves_the_sum_of_a_whole_model_by_no_more_than_the_bound() -> None:
    """Fed-CDP clips each layer alone, so that one sample moves its sum by the root of the number of layers more."""
    clip = 0.05
    for unit, fewer in (("record", 7), ("class", 2)):
        more = fewer + 1
        sums = [torch.cat([n * g.flatten() for g in losses(unit, clip, n=n)]) for n in (fewer, more)]
        assert clip * 0.9 < (sums[0] - sums[1]).norm() <= clip * (1 + 1e-4)
    alone = torch.cat([8 * g.flatten() for g in losses("class", clip)])
    assert alone.norm() <= 3 * clip * (1 + 1e-4)


def test_the_noise_of_a_whole_model_has_the_stated_deviation() -> None:
    """The released Fed-CDP leaves it out, and multiplies that of its other variant by 0."""
    plain = losses(clip=0.5)
    drawn = [[a - b for a, b in zip(losses(clip=0.5, noise=3.0, seed=s), plain, strict=True)] for s in range(20)]
    values = torch.cat([g.flatten() for of in drawn for g in of])
    assert values.std().item() == pytest.approx(3.0 * 0.5 / 8, rel=0.02)


def test_federated_averaging_with_a_great_bound_and_no_noise_is_nearly_that_without_and_its_shares_sum_to_1() -> None:
    """Fed-CDP divides the sum of 100 models by the last index of its loop, 99."""
    plain, bounded = (
        Run(planned("fedavg", rounds=1, **options), make=lambda: model(bn=False)).checked()
        for options in ({}, {"dp": {"clip": 1e6, "noise": 0.0}})
    )
    for name, value in plain.coordinator.tails.weights().items():
        torch.testing.assert_close(bounded.coordinator.tails.weights()[name], value, rtol=1e-3, atol=1e-4)
    ones = {client: {"w": torch.ones(3)} for client in range(100)}
    assert torch.equal(averaged(ones, dict.fromkeys(ones, 0.7))["w"], torch.ones(3))


def test_what_a_whole_model_is_promised_names_its_unit_and_what_is_not_covered() -> None:
    plan = planned("fedavg", batch=64, rounds=10, dp={"clip": 1.0, "noise": 0.622})
    text = guarantee(plan, 6016)
    assert "for one sample of a client that holds 6,016, over 10 rounds, for the weights of the whole model;" in text
    assert "Not protected by it are the client as a whole" in text
    of_class = planned("fedavg", batch=64, rounds=10, dp={"clip": 1.0, "noise": 0.622, "unit": "class"})
    assert "for all samples of one class" in guarantee(of_class, 6016)
    # A class takes part in every step, which no sampling makes rarer.
    assert epsilon(of_class, 6016) == pytest.approx(accountant.epsilon(0.622, 1.0, 940, 1e-5))
    assert epsilon(of_class, 6016) > 1000


def test_a_client_as_a_whole_is_promised_what_its_noise_gives_and_more_in_a_sum() -> None:
    hidden = {"update_defense": {"name": "client-dp", "bound": 1.0, "noise": 0.1}}
    alone = planned("fedavg", rounds=10, **hidden)
    said = guarantee(alone, 100)
    assert re.match(r"client-dp gives epsilon 648\.78 at delta 1e-05 for one client with all that it holds, ", said)
    assert "over 10 rounds, for the updates that it delivers, against an attacker who sees each of them." in said
    assert "smashed data" not in said
    summed = guarantee(planned("splitfed-v1", rounds=1, secure_aggregation=True, weighting="uniform", **hidden))
    assert re.match(
        r"client-dp gives epsilon 4\d\.\d\d .* an attacker who sees their mean over 3 clients of equal weight", summed
    )
    assert "over 1 round, " in summed
    assert "smashed data and labels" in summed
    both = guarantee(planned("fedavg", dp={"clip": 1.0}, **hidden), 100)
    assert both.startswith("DP-SGD gives")
    assert "client-dp gives" in both
    by_step = {"name": "parallel", "sync": "step"}
    assert "gives an epsilon that depends on the number of samples, at" in guarantee(planned(by_step, **hidden))
    # Two rounds of 13 steps for 100 samples.
    as_many = guarantee(planned(by_step, **hidden), 100)
    assert f"epsilon {accountant.epsilon(0.1, 1.0, 26, 1e-5):.2f}" in as_many


def test_what_a_client_delivers_is_clipped_and_masked_in_one_training() -> None:
    hidden = {"update_defense": {"name": "client-dp", "bound": 0.01, "noise": 0.0}, "secure_aggregation": True}
    run = Run(planned("fedavg", rounds=1, **hidden), make=lambda: model(bn=False)).checked()
    begun, ended = model(bn=False).state_dict(), run.coordinator.tails.weights()
    moved = math.sqrt(sum(float((ended[name] - value).square().sum()) for name, value in begun.items()))
    assert 0.001 < moved <= 0.0101


def test_a_whole_model_with_noise_goes_on_from_a_checkpoint_with_the_same_bits() -> None:
    plan = planned("fedavg", rounds=2, clients=2, dp={"clip": 1.0, "noise": 0.5})
    whole = Run(plan, make=lambda: model(bn=False)).checked()
    again = Run(plan, make=lambda: model(bn=False), after=(copy.copy(whole), 1)).checked()
    assert all(torch.equal(value, again.whole(2)[name]) for name, value in whole.whole(2).items())


def test_a_plan_without_it_keeps_its_id_and_one_with_it_is_written_and_read(tmp_path) -> None:
    assert planned().id == planned(dp={"noise": 2.0}).id
    # The id that this plan had before there was a unit.
    table = {"data": "digits", "model": "lenet", "cut": "relu2", "protocol": "splitfed-v1", "dp": {"clip": 1.0}}
    assert parse(table).id == "fb1d07621c61"
    plan = planned(dp={"clip": 1.0, "noise": 2.0})
    assert plan.id != planned().id
    (tmp_path / "plan.toml").write_text(toml(plan))
    assert load(tmp_path / "plan.toml").id == plan.id
