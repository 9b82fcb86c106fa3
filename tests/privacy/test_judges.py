"""The judges of pictures of classes: what they were trained on, what they say, and that no attack reaches them."""

import math
from dataclasses import fields, replace

import grimp
import numpy as np
import pytest
import torch

from cutlayer import training
from cutlayer.attacks.answers.view import ClassView, Reply, Service
from cutlayer.data.load import load
from cutlayer.data.splits import Dataset
from cutlayer.data.withheld import ClassData, withheld
from cutlayer.errors import ConfigError
from cutlayer.metrics.judge import Judge
from cutlayer.models import zoo
from cutlayer.privacy import judges as module
from cutlayer.privacy.judges import Judges, ceiling, chance, class_judges, judged, nearest, varied
from cutlayer.registry import CLASS_ATTACKS

K = 6
"""Pictures of a class."""


def samples(labels, seed):
    """Pictures of 12x12 with a bright square whose place is the class, one of six, and noise."""
    rng = np.random.default_rng(seed)
    inputs = rng.random((len(labels), 1, 12, 12), np.float32) * 0.3
    for image, label in zip(inputs, labels, strict=True):
        image[0, 6 * (label % 2) : 6 * (label % 2) + 5, 4 * (label // 2) : 4 * (label // 2) + 4] += 0.7
    return Dataset(inputs, np.array(labels))


@pytest.fixture(scope="module")
def data():
    """Classes 0 to 3 are the victim's, 4 and 5 the attacker's."""
    own, other = [0, 1, 2, 3], [4, 5]
    return ClassData(
        "squares", tuple("abcdef"), 4, samples(own * 40, 0), samples(own * 10, 1), samples(other * 40, 2),
        samples(other * 40, 3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def both(data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STEPS", 36)
        return class_judges(data, 0)


def test_they_are_right_about_real_samples_of_all_classes_and_say_so(both, data):
    assert min(both.accuracies) > 0.9
    assert both.weak == ()
    for title, share in zip(both.titles, both.accuracies, strict=True):
        assert f"knows 6 classes, 4 of them the victim's; it is right about {share:.1%} of 40 real" in title
    score = judged(ceiling(data, range(4), K), range(4), both)
    assert score.targets == (0, 1, 2, 3)
    assert score.metrics["agreed"].value > 0.9
    assert tuple(score.by_class) == module.MEASURES
    assert tuple(score.metrics) == module.MEASURES
    assert all(len(values) == 4 for values in score.by_class.values())


def test_an_open_judge_names_the_attackers_classes_where_a_closed_one_calls_them_the_victims(both, data):
    strangers = torch.from_numpy(data.auxiliary.inputs[:K]).expand(4, -1, -1, -1, -1)
    score = judged(strangers, range(4), both)
    assert score.metrics["acc@1"].value == score.metrics["agreed"].value == 0
    assert score.metrics["closed"].value == pytest.approx(0.25)
    as_the_attackers = judged(strangers[:1, ::2], [4], both)
    assert as_the_attackers.metrics["agreed"].value == 1
    assert as_the_attackers.metrics["closed"].value == 0


def test_the_gain_is_0_for_strangers_and_1_for_real_samples_in_every_class_also_class_0(both, data):
    real = torch.stack([torch.from_numpy(data.held_out.inputs[data.held_out.labels == label]) for label in range(4)])
    strangers = torch.from_numpy(data.auxiliary.inputs[:10]).expand(4, -1, -1, -1, -1)
    for pictures, gain in ((strangers, 0), (real, 1)):
        score = judged(pictures, range(4), both, nearest=strangers)
        assert score.by_class["distance gain"] == pytest.approx([gain] * 4, abs=1e-3)
    assert score.by_class["nearer"] == (1,) * 4
    assert math.isnan(judged(real, range(4), both).metrics["distance gain"].value)
    order = [3, 0, 2, 1]
    other = judged(real[order], order, both, nearest=strangers)
    for name, values in other.by_class.items():
        np.testing.assert_allclose(values, np.array(score.by_class[name])[order], rtol=1e-4, err_msg=name)


def test_intervals_resample_classes_and_not_pictures(both, data):
    """Two classes are right in all pictures and two in none: the interval is as wide as four samples make it."""
    real = ceiling(data, range(4), 10)
    real[2:] = 0
    few, many = (judged(real[:, :k], range(4), both).metrics["acc@1"] for k in (2, 10))
    assert few.n == many.n == 4
    assert many.value == pytest.approx(0.5, abs=0.05)
    assert many.low <= 0.05
    assert many.high >= 0.95
    assert few.high - few.low == pytest.approx(many.high - many.low, abs=0.1)


def test_one_picture_over_and_over_has_no_diversity_and_a_greater_kid(both, data):
    real = ceiling(data, range(4), K)
    same = judged(real[:, :1].expand(-1, K, -1, -1, -1), range(4), both)
    assert same.metrics["diversity"].value == pytest.approx(0, abs=1e-4)
    assert same.metrics["real diversity"].value > 0
    assert same.metrics["kid"].value > same.metrics["real kid"].value
    assert same.metrics["real kid"].value == pytest.approx(judged(real, range(4), both).metrics["kid"].value, abs=1e-4)


def test_chance_is_how_often_both_name_one_class_over_the_number_of_classes(both, data):
    own, other = (torch.from_numpy(part.inputs[:8]) for part in (data.held_out, data.auxiliary))
    assert chance(own, both).named > 0.9
    assert chance(own, both).chance == pytest.approx(chance(own, both).named / 4)
    assert chance(other, both) == (0, 0)


def test_the_nearest_sample_is_found_in_the_features(both, data):
    among = data.train
    assert nearest(torch.from_numpy(among.inputs[5:9]), among, both).tolist() == [5, 6, 7, 8]


def test_they_are_trained_once_and_other_samples_or_another_seed_train_others(data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 1)
    said: list[str] = []

    def trainings(data, seed):
        before = len(said)
        found = class_judges(data, seed, runs=tmp_path, say=said.append)
        return found, len(said) - before

    first, n = trainings(data, 0)
    assert n == 2
    assert said[0] == "training a convolutional judge of 6 classes on 240 samples"
    again, n = trainings(data, 0)
    assert n == 0
    images = torch.from_numpy(data.held_out.inputs)
    assert torch.equal(again.features(images), first.features(images))
    other, n = trainings(replace(data, train=data.train.at(np.s_[1:])), 0)
    assert n == 2
    assert not torch.equal(other.features(images), first.features(images))
    assert trainings(data, 1)[1] == 2


@pytest.mark.parametrize("shared", [True, False])
def test_they_learn_half_of_the_attackers_samples_only_where_there_are_no_others_of_its_classes(
    data, shared, monkeypatch
):
    monkeypatch.setattr(module, "STEPS", 1)
    said: list[str] = []
    none = data.others.at(np.s_[:0])
    own = samples([0, 1], 4) if shared else data.auxiliary
    class_judges(replace(data, auxiliary=own, others=none), 0, say=said.append)
    assert f"on {160 if shared else 200} samples" in said[0]


def test_a_weak_judge_is_named(both):
    weak = replace(both, accuracies=(0.95, 0.89))
    assert weak.weak == (both.titles[1],)


def test_a_class_without_training_samples_is_refused(data):
    few = data.train.at(np.flatnonzero(data.train.labels != 2))
    with pytest.raises(ConfigError, match=r"each of the victim's 4 classes, and the training part of squares .* of c;"):
        class_judges(replace(data, train=few), 0)


def test_rows_of_a_table_are_refused(data):
    rows = replace(data.train, inputs=data.train.inputs.reshape(len(data.train), -1))
    with pytest.raises(ConfigError, match=r"has inputs of shape \(144,\)"):
        class_judges(replace(data, train=rows), 0)


def test_varied_pictures_stay_in_range_and_show_what_they_showed():
    images = torch.full((4, 1, 9, 9), 0.5)
    images[:, :, 3:6, 3:6] = 1
    changed = varied(images, np.random.default_rng(0))
    assert changed.shape == images.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert (changed - images).abs().mean() > 0.01
    assert (changed[:, 0, 3:6, 3:6].mean((1, 2)) > changed[:, 0, :2].mean((1, 2)) + 0.2).all()


def test_the_ceiling_has_as_many_of_each_class(data):
    held_out = data.held_out.at(np.s_[:11])
    shown = ceiling(replace(data, held_out=held_out), (1, 3), 6)
    assert shown.shape == (2, 2, 1, 12, 12)
    assert torch.equal(shown[1, 0], torch.from_numpy(held_out.inputs[3]))


def test_no_attack_and_no_defense_reaches_a_judge_by_any_chain_of_imports():
    graph = grimp.build_graph("cutlayer", cache_dir=None)
    judges = ("cutlayer.privacy.judges", "cutlayer.experiment.judge")
    parties = [name for name in graph.modules if name.startswith(("cutlayer.attacks.", "cutlayer.defenses."))]
    assert len(parties) > 50
    reach = {judge: graph.find_downstream_modules(judge) for judge in judges}
    assert [(party, judge) for party in parties for judge in judges if party in reach[judge]] == []


def test_what_an_attacker_may_touch_holds_no_judge():
    for kind in (ClassView, Service):
        stated = " ".join(str(field.type) for field in fields(kind))
        assert Judge.__name__ not in stated
        assert Judges.__name__ not in stated


def test_on_digits_a_closed_judge_takes_strangers_for_the_victims_and_an_open_one_does_not(monkeypatch):
    monkeypatch.setattr(module, "STEPS", 100)
    data = withheld(load("digits"), list("56789"))
    both = class_judges(data, 0)
    assert min(both.accuracies) > 0.8
    victim = zoo.build("mlp", data.input, data.n_private + 1, 0)
    training.train(victim, data.train, epochs=10, seed=0)
    targets = tuple(range(data.n_private))

    def ask(images):
        with torch.no_grad():
            return victim(images).log_softmax(1)

    view = ClassView(
        input=data.input, classes=data.n_private + 1, targets=targets, auxiliary=data.auxiliary, reply=Reply.SCORES,
        _service=Service(ask),
    )  # fmt: skip
    floor = CLASS_ATTACKS.make("nearest-auxiliary").represent(view, K)
    strangers, real = judged(floor, targets, both).metrics, judged(ceiling(data, targets, K), targets, both).metrics
    assert real["acc@1"].value > 0.9
    assert strangers["agreed"].value <= 0.2
    assert strangers["closed"].value >= 0.4
