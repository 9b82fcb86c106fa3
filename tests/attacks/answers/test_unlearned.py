"""The class of what a model was made to forget."""

import numpy as np
import pytest
import torch

from cutlayer import training
from cutlayer.attacks.answers.unlearned import confidence_lost
from cutlayer.attacks.answers.view import Reply, Service
from cutlayer.data.splits import Dataset
from cutlayer.errors import WithheldError
from cutlayer.models import zoo
from cutlayer.spec import image_spec


def constant(*shares):
    return Service(lambda x: torch.tensor(shares).log().expand(len(x), -1))


def test_it_is_the_fall_of_the_mean_probability():
    before, after = constant(0.5, 0.3, 0.2), constant(0.5, 0.1, 0.4)
    assert confidence_lost(before, after, torch.zeros(7, 1)).tolist() == pytest.approx([0, 0.2, -0.2])
    assert before.asked == after.asked == 7


def test_a_model_that_was_trained_without_a_class_names_it():
    def part(seed):
        labels = np.arange(90) % 3
        inputs = np.random.default_rng(seed).random((90, 1, 8, 8), np.float32) / 2
        for image, label in zip(inputs, labels, strict=True):
            image[0, 2 * label : 2 * label + 2] += 0.5
        return Dataset(inputs, labels)

    def service(train):
        network = zoo.build("mlp", image_spec(1, 8, 8), 3, 0)
        training.train(network, train, epochs=30, seed=0)
        return Service(lambda x: network(x).detach().log_softmax(1))

    train, probes = part(0), torch.from_numpy(part(1).inputs)
    before = service(train)
    for label in range(3):
        lost = confidence_lost(before, service(train.at(np.flatnonzero(train.labels != label))), probes)
        assert int(lost.argmax()) == label
        assert lost[label] > 0.2


def test_labels_alone_do_not_tell_it():
    silent = Service(constant(0.5, 0.5).ask, Reply.LABEL)
    with pytest.raises(WithheldError):
        confidence_lost(silent, silent, torch.zeros(2, 1))
