"""Inputs that are rebuilt from answers: what is seen of them, and how they are scored."""

import numpy as np
import pytest
import torch

from cutlayer.attacks.answers.view import ClassView, Reply, Service
from cutlayer.data.splits import Dataset
from cutlayer.data.withheld import ClassData
from cutlayer.defenses.answers.base import UNTOLD
from cutlayer.errors import WithheldError
from cutlayer.privacy import judges as module
from cutlayer.privacy.instances import center, scored, seen_of, victims_inputs
from cutlayer.privacy.judges import class_judges
from cutlayer.registry import CLASS_ATTACKS


def samples(n, seed):
    """Pictures of 12x12 of two classes, dark and bright, each of a brightness of its own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    inputs = (rng.random((n, 1, 1, 1)) / 3 + labels[:, None, None, None] / 2 + rng.random((n, 1, 12, 12)) / 10).clip(
        0, 1
    )
    return Dataset(inputs.astype(np.float32), labels)


@pytest.fixture(scope="module")
def data():
    parts = [samples(n, seed) for seed, n in enumerate((80, 60, 80))]
    return ClassData("shades", ("dark", "bright"), 2, *parts, parts[2].at(np.s_[:0]))


def view(data, reply=Reply.SCORES, explain=None):
    def ask(inputs):
        """The brightness is the answer."""
        bright = inputs.mean((1, 2, 3))[:, None].clamp(0.01, 0.99)
        return torch.cat([1 - bright, bright], 1).log()

    return ClassView(
        input=data.input, classes=2, targets=(0, 1), auxiliary=data.auxiliary, reply=reply,
        _service=Service(ask, reply), _explain=explain,
    )  # fmt: skip


def test_what_is_overheard_is_the_answers_and_inputs_without_their_middle_and_nothing_is_asked(data):
    inputs = victims_inputs(data, 10, 0)
    held_out = {sample.tobytes() for sample in data.held_out.inputs}
    assert all(sample.tobytes() in held_out for sample in inputs.inputs)
    seen_by = view(data)
    seen = seen_of(seen_by, inputs, masked=True)
    assert seen.scores.exp()[:, 1].numpy() == pytest.approx(inputs.inputs.mean((1, 2, 3)), abs=1e-5)
    assert seen.explanations is None
    assert (seen.masked[..., 4:8, 4:8] == 0).all()
    assert torch.equal(seen.masked[..., :3, :], torch.from_numpy(inputs.inputs)[..., :3, :])
    assert seen_by.service.asked == 0
    assert seen_of(seen_by, inputs).masked is None


def test_of_a_service_that_tells_labels_only_the_class_is_overheard(data):
    seen = seen_of(view(data, Reply.LABEL), victims_inputs(data, 10, 0))
    assert set(seen.scores.flatten().tolist()) == {0, UNTOLD}


def test_explanations_are_overheard_where_the_service_explains(data):
    inputs = victims_inputs(data, 3, 0)
    explained = seen_of(view(data, explain=lambda images: images * 2), inputs, explained=True)
    assert torch.equal(explained.explanations, 2 * torch.from_numpy(inputs.inputs))
    with pytest.raises(WithheldError, match="explanations"):
        seen_of(view(data), inputs, explained=True)


def test_the_middle_is_a_sixth_of_the_area():
    mask = center(torch.zeros(2, 3, 50, 40))
    assert mask.shape == (1, 1, 50, 40)
    assert mask.float().mean() == pytest.approx(0.16, abs=0.01)
    assert torch.equal(mask, mask.flip(-1))


@pytest.fixture(scope="module")
def judges(data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STEPS", 20)
        return class_judges(data, 0)


def test_the_class_mean_is_its_own_floor_and_the_input_itself_has_no_error(data, judges):
    inputs = victims_inputs(data, 40, 1)
    floor = CLASS_ATTACKS.make("class-mean").invert(view(data, Reply.LABEL), seen_of(view(data), inputs))
    assert scored(floor, floor, inputs, data.auxiliary, judges, 0).over_floor.value == 1
    exact = scored(torch.from_numpy(inputs.inputs), floor, inputs, data.auxiliary, judges, 0)
    assert exact.over_floor.value == exact.score.metrics["mse"].value == 0
    assert exact.score.metrics["iip"].value == 1
    assert exact.score.n == 40
    seen = seen_of(view(data), inputs, masked=True)
    hidden = CLASS_ATTACKS.make("class-mean").invert(view(data), seen)
    assert torch.equal(hidden * ~seen.mask, seen.masked)
    assert torch.equal(hidden * seen.mask, floor * seen.mask)


def test_answers_that_tell_the_brightness_bring_a_decoder_below_the_class_mean(data, judges):
    inputs = victims_inputs(data, 40, 1)
    seen = seen_of(view(data), inputs)
    floor = CLASS_ATTACKS.make("class-mean").invert(view(data), seen)
    attack = CLASS_ATTACKS.make("background-alignment", capacity="conv_normN0C16", epochs=50, batch=16)
    over = scored(attack.invert(view(data), seen), floor, inputs, data.auxiliary, judges, 0).over_floor
    assert over.high < 0.7
