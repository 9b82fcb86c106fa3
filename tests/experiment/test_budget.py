"""A plan within a given time: which steps are left out, and how that is said."""

from dataclasses import replace

import pytest

from cutlayer.data.load import load
from cutlayer.experiment import budget, plan, victim
from cutlayer.tables import Named

PLAN = {
    "data": "digits", "model": "resnet20", "cut": "conv1", "training": {"epochs": 1, "images": 128},
    "measure": {"count": 10, "private": 4, "auxiliary": 100},
    "published": [{"attack": "decoder", "cut": "conv1", "source": "A paper"}],
    "expect": ["leakage of none by decoder > leakage of none by ridge", "mse of none < 0.1"],
    "defense": [{"name": "none"}, {"name": "gaussian-noise", "sigma": 0.5}],
    "attack": [
        {"name": "ridge"}, {"name": "decoder", "title": "decoder", "epochs": 4, "capacity": "conv_normN0C16"},
        {"name": "white-box", "iterations": 2000, "rehearsal": 2},
        {"name": "averaging", "attack": "white-box", "n_releases": 2, "options": {"iterations": 200}},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def planned():
    return plan.parse(PLAN)


def steps(experiments):
    return [budget.steps(named) for named in experiments[-1].attacks]


def test_a_share_of_the_steps_is_in_options_titles_and_id(planned):
    half = budget.shortened(planned, 0.5)
    assert steps(planned) == [None, 4, 2000, 200]
    assert steps(half) == [None, 2, 1000, 100]
    labels = [named.label for named in half[0].attacks]
    assert labels[0] == "ridge"
    assert labels[1] == "decoder, 2 of 4 steps"
    assert labels[3].endswith("100 of 200 steps")
    assert [entry.attack for entry in half[0].published] == [labels[1]]
    assert half[0].expect[0] == f"leakage of none by {labels[1]} > leakage of none by ridge"
    assert not {experiment.id for experiment in planned} & {experiment.id for experiment in half}


def test_every_share_can_be_read_back_to_its_id(planned, tmp_path):
    for share in budget.SHARES:
        for experiment in budget.shortened(planned, share):
            (tmp_path / "plan.toml").write_text(plan.toml(experiment))
            assert [again.id for again in plan.load(tmp_path / "plan.toml")] == [experiment.id]


def test_attacks_that_contain_others_take_fewer_steps_of_all(planned, tmp_path):
    inner = {"options": {"epochs": 8}, "iterations": 40}
    attacks = (Named("map", inner), Named("stack", {"attacks": ({"name": "ridge"}, {"name": "map", **inner})}))
    (half,) = budget.shortened([replace(planned[0], attacks=attacks, expect=(), published=())], 0.5)
    fewer = {"options": {"epochs": 4}, "iterations": 20}
    assert [named.options for named in half.attacks] == [
        fewer, {"attacks": ({"name": "ridge"}, {"name": "map", **fewer})}
    ]  # fmt: skip
    (tmp_path / "plan.toml").write_text(plan.toml(half))
    assert [again.id for again in plan.load(tmp_path / "plan.toml")] == [half.id]


def test_the_least_share_leaves_a_step(planned):
    assert min(s for s in steps(budget.shortened(planned, budget.SHARES[-1])) if s) >= 1


@pytest.fixture(scope="module")
def fit(planned, tmp_path_factory):
    data, runs = load("digits"), tmp_path_factory.mktemp("runs")

    def fit(left_s, resume=True):
        said = []
        experiments, spent = budget.fitted(planned, data, left_s, runs, resume=resume, say=said.append)
        return experiments, spent, said

    return fit, runs


def test_enough_time_changes_nothing(fit, planned):
    experiments, spent, said = fit[0](10_000.0)
    assert [e.id for e in experiments] == [e.id for e in planned]
    assert "100% of the planned steps" in said[-1]
    assert spent["rehearse"] > 0
    assert victim.cached(planned[0], fit[1]).exists(), "the run takes up the trained model"


def test_what_every_defense_costs_beside_the_attacks_counts_once_for_each_kind(fit, planned, monkeypatch):
    rehearsed, noise = [], planned[1]
    further = replace(noise, defense=Named("gaussian-noise", {"sigma": 1.0}))
    monkeypatch.setattr(budget, "beside_attacks", lambda experiment, *others: rehearsed.append(experiment.defense.key))
    experiments = [*planned, further]
    assert budget.fitted(experiments, load("digits"), 1e4, fit[1], resume=False, say=str)[0] == experiments
    assert rehearsed == ["none", "gaussian-noise sigma=0.5"]


def test_without_time_left_every_attack_keeps_the_steps_that_it_needs(fit, planned):
    experiments, _, said = fit[0](1.0)
    assert steps(experiments) == [None, 2, 1000, 100]
    assert "50% of the planned steps are made, and the time cannot be kept" in said[-1]


def test_a_plan_that_was_begun_keeps_its_steps(fit, planned):
    begun = budget.shortened(planned, 0.25)
    (fit[1] / begun[0].id).mkdir()
    experiments, spent, _ = fit[0](10_000.0)
    assert (steps(experiments), spent) == (steps(begun), {})
    assert steps(fit[0](10_000.0, resume=False)[0]) == steps(planned)


def test_attacks_without_steps_are_left_as_they_are(planned):
    closed = [replace(planned[0], attacks=(Named("ridge"), Named("averaging", {"n_releases": 4})))]
    assert budget.shortened(closed, 0.1) == closed
