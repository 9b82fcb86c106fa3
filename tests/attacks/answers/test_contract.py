"""What every attack on answers and weights promises."""

from dataclasses import is_dataclass, replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.functional import log_softmax

from cutlayer.attacks.answers.base import AnswerAttack, ClassAttack, Seen
from cutlayer.attacks.answers.view import ClassView, Reply, Service, SpentError
from cutlayer.data.splits import Dataset
from cutlayer.defenses.answers.base import UNTOLD
from cutlayer.errors import ConfigError, WithheldError
from cutlayer.registry import CLASS_ATTACKS, Missing
from cutlayer.spec import image_spec

INPUT, CLASSES, TARGETS, K = image_spec(1, 12, 12), 4, (0, 2), 3


class Row(NamedTuple):
    """One attack with the options that make it quick.

    Attributes:
        name: Name of the attack.
        options: Its options.
        asks: Whether it asks the service.
    """

    name: str
    options: dict[str, Any]
    asks: bool = True

    def make(self) -> ClassAttack | AnswerAttack:
        return CLASS_ATTACKS.make(self.name, **self.options)


SMALL = {"latent": 4, "width": 2}
ROWS = [
    Row("background-alignment", {"capacity": "conv_normN0C16", "images": 32, "epochs": 1}),
    Row("brep-mi", {"prior": "linear", "draws": 300, "steps": 3}),
    Row("c2fmi", {"prior": "linear", "embedding_epochs": 1, "epochs": 1, "population": 4, "steps": 3}),
    Row("class-mean", {}),
    Row("deep-inversion", {"steps": 3, "batch": 4}, asks=False),
    Row("diff-mi", {"width": 4, "train_steps": 2, "steps": 2, "last_steps": 2}, asks=False),
    Row("dmmia", SMALL | {"prior_steps": 4, "starts": 8, "steps": 2}, asks=False),
    Row("emi", SMALL | {"prior_steps": 2, "starts": 4}, asks=False),
    Row("fed-inverse", {"prior": "linear", "steps": 3}, asks=False),
    Row("first-hit", {"prior": "linear", "draws": 300}),
    Row("genetic", {"prior": "linear", "pool": 40, "population": 6, "generations": 3}),
    Row("gmi", {"latent": 4, "width": 2, "prior_steps": 4, "steps": 3, "candidates": 2}, asks=False),
    Row("if-gmi", {"latent": 4, "width": 2, "prior_steps": 4, "starts": 20, "steps": 2, "layers": 2}, asks=False),
    Row("kedmi", SMALL | {"prior_steps": 4, "steps": 2}, asks=False),
    Row("label-diffusion", {"width": 4, "train_steps": 2, "steps": 2}),
    Row("label-transfer", {"prior": "linear", "starts": 4, "steps": 2, "student_steps": 2, "students": 2}),
    Row("lokt", SMALL | {"prior_steps": 4, "starts": 4, "steps": 2, "student_steps": 2, "samples": 5}),
    Row("lomma", {"prior": "linear", "steps": 3, "student_steps": 2}, asks=False),
    Row("margin", {"prior": "linear", "steps": 3, "starts": 20}, asks=False),
    Row("mean-auxiliary", {}, asks=False),
    Row("mi-face", {"steps": 3}, asks=False),
    Row("mirror", {"prior": "linear", "steps": 3, "starts": 20}, asks=False),
    Row("nearest-auxiliary", {}),
    Row("patch-mi", SMALL | {"prior_steps": 2, "starts": 4}, asks=False),
    Row("plg-mi", SMALL | {"prior_steps": 4, "steps": 2}, asks=False),
    Row("ppa", {"prior": "linear", "steps": 3, "starts": 20, "votes": 2}, asks=False),
    Row("rlb-mi", {"prior": "linear", "episodes": 8, "hidden": 8, "batch": 4}),
    Row("ppdg-mi", SMALL | {"prior_steps": 4, "steps": 2, "starts": 8, "lessons": 3, "refit_steps": 2}, asks=False),
    Row("sampling", {"prior": "linear", "n": 20}),
    Row("secret-gen", {"draws": 3, "latent": 4, "width": 4, "prior_steps": 4, "steps": 2}),
    Row("sliding-inversion", {"steps": 3}, asks=False),
    Row("smi", {"capacity": "conv_normN0C16", "images": 32, "epochs": 1, "classifier_epochs": 1}),
    Row("vmi", SMALL | {"prior_steps": 4, "steps": 2}, asks=False),
    Row("xai", {"capacity": "conv_normN0C16", "images": 32, "epochs": 1}),
]
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


class Counting:
    """A victim that counts what it is asked."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.asked = model, 0

    def __call__(self, inputs):
        assert inputs.shape[1:] == INPUT.shape
        assert inputs.min() >= 0
        assert inputs.max() <= 1
        self.asked += len(inputs)
        with torch.no_grad():
            return log_softmax(self.model(inputs), 1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
    layers = conv, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, CLASSES)
    network = nn.Sequential(*layers)
    network(torch.rand(64, *INPUT.shape))
    return network.eval()


@pytest.fixture
def auxiliary():
    random = torch.Generator().manual_seed(1)
    return Dataset(torch.rand(48, *INPUT.shape, generator=random).numpy(), (torch.arange(48) % 3 + 10).numpy())


def view(model, auxiliary, reply=Reply.WEIGHTS, budget=None):
    ask = Counting(model)
    seen = ClassView(
        input=INPUT,
        classes=CLASSES,
        targets=TARGETS,
        auxiliary=auxiliary,
        reply=reply,
        seed=3,
        _service=Service(ask, min(reply, Reply.SCORES), budget),
        _models=(model,) if reply is Reply.WEIGHTS else (),
        _explain=lambda inputs: torch.ones(len(inputs), 1, *INPUT.shape[1:]),
    )
    return seen, ask


def run(attack, seen):
    if isinstance(attack, ClassAttack):
        return attack.represent(seen, K)
    random = torch.Generator().manual_seed(2)
    inputs = torch.rand(5, *INPUT.shape, generator=random)
    mask = torch.zeros(1, 1, *INPUT.shape[1:], dtype=torch.bool)
    mask[..., 4:8, 4:8] = True
    scores = seen.service.ask(inputs)
    return attack.invert(seen, Seen(scores, torch.ones(5, 1, *INPUT.shape[1:]), inputs * ~mask, mask))


def test_each_registered_attack_has_a_row():
    built = {name for name in CLASS_ATTACKS if not issubclass(CLASS_ATTACKS.load(name), Missing)}
    assert sorted({row.name for row in ROWS}) == sorted(built)


def test_what_is_not_built_says_why():
    missing = [name for name in CLASS_ATTACKS if issubclass(CLASS_ATTACKS.load(name), Missing)]
    assert missing
    for name in missing:
        with pytest.raises(ConfigError, match="Not built: "):
            CLASS_ATTACKS.make(name)


@each
def test_it_is_a_dataclass_with_words_for_a_reader(row):
    attack = row.make()
    assert is_dataclass(attack)
    assert attack.plain_words[:1].islower()
    assert attack.needs in Reply


@each
def test_pictures_of_each_class_with_what_it_needs_and_equal_for_equal_seeds(row, model, auxiliary):
    attack = row.make()
    (first, asked), (second, _) = (view(model, auxiliary, attack.needs) for _ in range(2))
    inputs = auxiliary.inputs.copy()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    shown = run(attack, first)
    expected = (len(TARGETS), K) if isinstance(attack, ClassAttack) else (5,)
    assert shown.shape == (*expected, *INPUT.shape)
    assert shown.dtype == torch.float32
    assert not shown.requires_grad
    assert shown.isfinite().all()
    assert 0 <= shown.min() <= shown.max() <= 1
    torch.testing.assert_close(run(row.make(), second), shown)
    if isinstance(attack, ClassAttack):
        assert first.service.asked == asked.asked
        assert (asked.asked > 0) == row.asks
    assert (auxiliary.inputs == inputs).all()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(not module.training for module in model.modules())


@each
def test_less_than_it_needs_is_refused(row, model, auxiliary):
    attack = row.make()
    for reply in Reply:
        if reply < attack.needs:
            seen, _ = view(model, auxiliary, reply)
            with pytest.raises(WithheldError):
                run(attack, seen)


@each
def test_a_budget_of_nothing_is_refused(row, model, auxiliary):
    attack = row.make()
    if isinstance(attack, ClassAttack) and row.asks:
        with pytest.raises(SpentError, match="of the budget of 0"):
            run(attack, view(model, auxiliary, attack.needs, budget=0)[0])


@each
def test_scores_that_saturate_give_finite_pictures(row, model, auxiliary):
    attack = row.make()
    with torch.no_grad():
        for parameter in model[-1].parameters():
            parameter.mul_(1e4)
    seen, asked = view(model, auxiliary, attack.needs)
    if attack.needs is not Reply.WEIGHTS:
        seen = replace(seen, _service=Service(lambda inputs: asked(inputs).clamp(min=UNTOLD), seen.service.reply))
    assert run(attack, seen).isfinite().all()
