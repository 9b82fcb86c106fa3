"""Probes in a plan: read, refused, measured and recorded."""

import tomllib
from dataclasses import replace

import pytest

from cutlayer.attacks.view import Access, vantage_named
from cutlayer.data.load import load
from cutlayer.errors import ConfigError, WithheldError
from cutlayer.experiment.plan import parse, toml
from cutlayer.experiment.probing import check_probes, under_trained
from cutlayer.experiment.spec import Experiment, Probe
from cutlayer.records.run import Estimate, ProbeRecord

TABLE = {
    "data": "digits", "model": "resnet20", "cut": "layer3.2", "training": {"epochs": 1, "images": 200},
    "measure": {"count": 10, "private": 5, "warmup": 1, "auxiliary": 200},
    "defense": {"name": "gaussian-noise", "sigma": 0.1},
    "probe": [
        {"target": "class", "images": 60}, {"target": "attribute", "attribute": ["even", "bright"], "images": 60},
        {"target": "membership", "images": 100, "n_releases": 2},
    ],
}  # fmt: skip


def test_a_plan_states_them_and_reads_them_back():
    (experiment,) = parse(TABLE)
    assert [probe.label for probe in experiment.probes] == [
        "class linear", "attribute even linear", "attribute bright linear", "membership linear",
    ]  # fmt: skip
    (again,) = parse(tomllib.loads(toml(experiment)))
    assert (again.probes, again.id) == (experiment.probes, experiment.id)
    assert replace(experiment, probes=()).id != experiment.id


def test_an_experiment_without_probes_keeps_its_id():
    assert Experiment("digits", "resnet20", "layer1").id == Experiment("digits", "resnet20", "layer1", probes=()).id


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "needs a target"),
        ({"target": "weight"}, "no probe named 'weight'"),
        ({"target": "class", "images": 0}, "probe.images must be"),
        ({"target": "class", "colour": 1}, "Unknown probe key 'colour'"),
    ],
)
def test_a_plan_that_asks_wrongly_is_refused(entry, words):
    with pytest.raises(ConfigError, match=words):
        parse({**TABLE, "probe": [entry]})


@pytest.mark.parametrize(("access", "vantage"), [("query-free", "cloud"), ("black-box", "encrypted-link")])
def test_what_is_not_granted_is_refused(access, vantage):
    data = load("digits", None, 0)
    with pytest.raises(WithheldError, match="needs black-box access and smashed data"):
        check_probes([Probe("class", images=50)], data, Access.named(access), vantage_named(vantage))


def test_images_of_another_data_set_know_nothing_of_these_classes():
    data, seen = load("digits", None, 0), (Access.WHITE_BOX, vantage_named("cloud"))
    check_probes([Probe("class", images=50)], data, *seen)
    with pytest.raises(ConfigError, match="those of mnist have other classes"):
        check_probes([Probe("class", images=50)], data, *seen, "mnist")


def test_a_probe_below_its_baseline_raises_a_flag():
    def record(high):
        nothing = Estimate(0.5, 9, 0.4, 0.6)
        return ProbeRecord(
            target="class", how="mlp", n_releases=1, auc=nothing, baseline=nothing, positive=0.5,
            over_baseline=Estimate(-0.1, 9, -0.2, high),
        )  # fmt: skip

    assert [flag.flag for flag in under_trained([record(-0.01), record(0.0)])] == ["probe-below-baseline"]
