"""What the defenses that act on replies do to them."""

import numpy as np
import pytest
import torch
from torch import nn

from cutlayer.data.splits import Dataset
from cutlayer.defenses.answers.adversarial_answers import AdversarialAnswers
from cutlayer.defenses.answers.purifier import Purifier
from cutlayer.defenses.answers.replies import computed, slope
from cutlayer.defenses.answers.rounding import Rounding
from cutlayer.defenses.answers.temperature import Temperature
from cutlayer.defenses.answers.top_scores import TopScores

RNG = np.random.default_rng(0)
CLASSES = 5


def logged(*rows):
    return np.log(np.array(rows, np.float32))


def softened(scores):
    return np.exp(scores)


@pytest.fixture(scope="module")
def answered():
    """A network whose answers say which class an image is of, and how bright it is: ``(model, data, scores)``."""
    labels = np.arange(400) % CLASSES
    shade = RNG.random(400)
    inputs = np.zeros((400, 1, 4, 4), np.float32)
    inputs[np.arange(400), 0, 0, labels % 4] = 1
    inputs[:, 0, 3] = (labels == 4)[:, None]
    inputs[:, 0, 1:3] = shade[:, None, None]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES))
    with torch.no_grad():
        for k in range(4):
            model[1].weight[k] *= 0.1
            model[1].weight[k, k] = 3
        model[1].weight[4, 12:] = 1
        model[1].weight[0, 4:12] = 0.3
    scores = model(torch.from_numpy(inputs)).log_softmax(1).detach().numpy()
    return model, Dataset(inputs, labels), scores


def test_rounding_tells_multiples_and_keeps_the_class_in_a_tie():
    told = Rounding(step=0.1).answer(logged([0.42, 0.44, 0.14], [0.94, 0.03, 0.03]), RNG)
    assert softened(told)[0] == pytest.approx([0.4, 0.4, 0.1], abs=1e-3)
    assert told[0].argmax() == 1
    assert softened(told)[1] == pytest.approx([0.9, 0, 0])
    assert told[1, 1] == -1000
    # With many classes all would be rounded to 0, and the class is told all the same.
    even = Rounding(step=0.5).answer(logged([0.21, 0.2, 0.2, 0.2, 0.19]), RNG)
    assert softened(even)[0].tolist() == [0.5, 0, 0, 0, 0]


def test_top_scores_tells_the_greatest_alone():
    scores = logged([0.2, 0.5, 0.3], [0.4, 0.4, 0.2])
    told = TopScores(kept=1).answer(scores, RNG)
    assert told[0].tolist() == [-1000, scores[0, 1], -1000]
    assert told[1].argmax() == scores[1].argmax() == 0
    assert (TopScores(kept=2).answer(scores, RNG) > -1000).sum(1).tolist() == [2, 2]
    assert TopScores(kept=3).answer(scores, RNG) is scores


def test_who_knows_the_temperature_has_the_reply_as_it_was():
    scores = logged([0.9, 0.09, 0.01], [0.2, 0.5, 0.3])
    told = Temperature(temperature=4.0).answer(scores, RNG)
    assert softened(told).sum(1) == pytest.approx([1, 1], abs=1e-6)
    assert softened(told).max() < 0.7
    back = 4 * told
    back = back - np.log(softened(back).sum(1, keepdims=True))
    np.testing.assert_allclose(back, scores, atol=1e-5)


def test_purified_answers_keep_the_class_and_say_less_of_the_sample(answered):
    model, data, scores = answered
    defense = Purifier(steps=300)
    defense.learn(model, data, 0)
    told = defense.answer(scores, np.random.default_rng(1))
    assert (told.argmax(1) == scores.argmax(1)).all()
    assert softened(told).sum(1) == pytest.approx(np.ones(400), abs=0.01)

    def explained(answers):
        """Share of the variance of the brightness that the answers of one class explain, linearly."""
        of = scores.argmax(1) == 0
        x = np.column_stack([answers[of], np.ones(of.sum())])
        shade = data.inputs[of, 0, 1, 0]
        left = shade - x @ np.linalg.lstsq(x, shade, rcond=None)[0]
        return 1 - left.var() / shade.var()

    assert explained(scores) > 0.9
    assert explained(told) < 0.5 * explained(scores)
    half = Purifier(steps=300, share=0.5)
    half.learn(model, data, 0)
    mixed = half.answer(scores, np.random.default_rng(1))
    np.testing.assert_allclose(softened(mixed), (softened(told) + softened(scores)) / 2, atol=0.02)


def test_adversarial_answers_mislead_the_decoder_within_their_reach(answered):
    model, data, scores = answered
    defense = AdversarialAnswers(reach=1.0)
    defense.learn(model, data, 0)
    told = defense.answer(scores, np.random.default_rng(1))
    assert (told.argmax(1) == scores.argmax(1)).all()

    def centered(s):
        return s - s.mean(1, keepdims=True)

    moved = np.abs(centered(told) - centered(scores)).max(1)
    assert np.quantile(moved, 0.9) <= 2.1  # the mean of a row moves too, and the class is put back
    flat = data.inputs.reshape(400, -1)
    # The decoder itself: it errs more on what is told, and more than on answers with noise of the same reach.
    true = computed(defense.learned, "decoder", centered(scores))
    error = ((computed(defense.learned, "decoder", centered(told)) - true) ** 2).sum(1).mean()
    noise = centered(scores) + np.random.default_rng(2).choice([-1, 1], scores.shape).astype(np.float32)
    assert error > 1.2 * ((computed(defense.learned, "decoder", noise) - true) ** 2).sum(1).mean()
    assert error > 0.1 * ((flat - flat.mean(0)) ** 2).sum(1).mean()


def test_the_slope_is_that_of_the_network():
    rng = np.random.default_rng(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    from cutlayer.defenses.answers.replies import layers

    learned = layers("n", network)
    inputs, outer = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 3), (6, 2)))
    x = torch.from_numpy(inputs).requires_grad_()
    np.testing.assert_allclose(computed(learned, "n", inputs), network(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    (torch.from_numpy(outer) * network(x)).sum().backward()
    np.testing.assert_allclose(slope(learned, "n", inputs, outer), x.grad.numpy(), rtol=1e-4, atol=1e-6)
