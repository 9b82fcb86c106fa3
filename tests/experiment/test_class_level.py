"""Studies of class-level inversion: plans, the engine, and what a killed study finds again."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from cutlayer.attacks.answers.base import AnswerAttack, ClassAttack
from cutlayer.attacks.answers.view import Reply
from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.errors import ConfigError, CutlayerError
from cutlayer.experiment import class_level, class_plan
from cutlayer.experiment.class_spec import Placed
from cutlayer.experiment.class_victim import load_classes, train_victim
from cutlayer.experiment.positions import seen_from
from cutlayer.privacy import judges
from cutlayer.records import class_level as records
from cutlayer.records.class_level import CEILING
from cutlayer.records.dataclass_json import dump
from cutlayer.tables import Named

PLAN = """
data = "digits"
model = "lenet"
withhold = ["5", "7", "9"]
epochs = 1
images = 2
auxiliary = 100

[[defense]]
name = "none"

[[defense]]
name = "label-only"

[[attack]]
name = "{here}:Echo"
position = ["outsider", "thief"]

[[attack]]
name = "{here}:Steals"
against = "none"

[[attack]]
name = "{here}:Reads"
explanations = "saliency"
against = "none"
"""
PLACES = 'position = ["outsider", "thief"]'


@dataclass(kw_only=True)
class Echo(ClassAttack):
    """Show noise, after a pool that attacks share."""

    plain_words = "echoes"
    needs = Reply.SCORES
    prior: str = "linear"

    def represent(self, view, k):
        pool = torch.from_numpy(view.auxiliary.inputs[:10])
        view.kept("pool", lambda: view.service.scores(pool))
        torch.manual_seed(view.seed)
        return torch.rand(len(view.targets), k, *view.input.shape)


@dataclass(kw_only=True)
class Steals(ClassAttack):
    """Follow the weights' gradient by one step, and fail on command."""

    plain_words = "steals"
    needs = Reply.WEIGHTS
    fails: bool = False
    side: int = 8

    def represent(self, view, k):
        if self.fails:
            raise ConfigError("It fails.")
        view.kept("pool", lambda: view.service.labels(torch.zeros(7, *view.input.shape)))
        shown = torch.full((len(view.targets), k, *view.input.shape), 0.5, requires_grad=True)
        view.model(shown.flatten(0, 1)).sum().backward()
        assert shown.grad.abs().sum() > 0
        return (shown + shown.grad.sign() / 10).clamp(0, 1)[..., : self.side]


@dataclass(kw_only=True)
class Reads(AnswerAttack):
    """Answer with the mean of the attacker's own inputs."""

    plain_words = "reads"

    def invert(self, view, seen):
        assert seen.explanations.shape == (len(seen.scores), 1, 8, 8)
        view.service.scores(torch.from_numpy(view.auxiliary.inputs[:5]))
        return torch.from_numpy(view.auxiliary.inputs.mean(0)).expand(len(seen.scores), -1, -1, -1)


@dataclass(kw_only=True)
class Unready(AnswerDefense):
    """Cannot be had."""

    knob = "share"
    plain_words = "is not ready"
    share: float = 1.0

    def rebuilt(self, model, input, classes, seed):
        raise ConfigError("It is not ready.")


def load(tmp_path, text=PLAN, **settings):
    path = tmp_path / "plan.toml"
    path.write_text(text.replace("{here}", __file__))
    return class_plan.load(path, settings)


def quiet(_):
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    plan, told = load(folder), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges, "STEPS", 12)
        found = class_level.study(plan, out=folder, say=quiet, tell=told.append)
    return plan, folder, found, told


def of(found, **fields):
    return [r for r in found if all(getattr(r, key) == value for key, value in fields.items())]


def test_every_cell_has_a_record_with_ceiling_and_floors(made):
    plan, _, found, told = made
    assert [r.id for r in found] == [cell.id for cell in plan.cells()]
    assert len({r.id for r in found}) == len(told) == len(found) == 12
    for defense in ("none", "label-only"):
        floors = of(found, defense=defense, floor=True)
        assert [r.attack for r in floors] == [CEILING, "nearest-auxiliary", "mean-auxiliary"]
        assert all(r.score is not None for r in floors)
    for r in found:
        assert r.targets == ("5", "7", "9")
        assert not r.shared
        assert r.accuracy is not None
        assert r.accuracy.n == len(load_classes(plan.victim, 0, None).held_out)
        assert len(r.judges) == len(r.judged) == 2
    (nearest,) = of(found, attack="nearest-auxiliary", defense="none")
    assert nearest.score.metrics["distance gain"].value == pytest.approx(0)
    assert all(len(r.score.by_class["agreed"]) == 3 for r in found if r.score and not r.instances)


def test_a_server_that_answers_labels_refuses_who_needs_scores_and_says_what_works(made):
    *_, found, _ = made
    (refused,) = [r for r in found if r.failed]
    assert (refused.defense, refused.position) == ("label-only", "outsider")
    assert "needs the victim's scores, and gets no more than the label" in refused.failed
    # A thief asks its own copy, which tells all.
    (thief,) = of(found, defense="label-only", position="thief", attack=refused.attack)
    assert thief.score is not None


def test_what_a_shared_pool_asked_is_charged_to_each_that_takes_it(made):
    *_, found, _ = made
    asked = {
        (r.label.partition(",")[0], r.position): r.asked for r in found if not (r.floor or r.failed or r.instances)
    }
    assert asked == {("Echo", "outsider"): 10, ("Echo", "thief"): 10, ("Steals", "thief"): 7}
    # As many questions about pictures of the same prior stand beside it, where there is one.
    assert {r.label.partition(",")[0] for r in found if r.sampled is not None} == {"Echo"}
    assert {r.per_class for r in of(found, asked=7)} == {7 / 4}  # the class that the victim does not know is asked for


def test_the_class_that_the_victim_does_not_know_is_looked_at_once(made):
    *_, found, _ = made
    looked = [r for r in found if r.control is not None]
    assert {(r.defense, r.floor, r.instances) for r in looked} == {("none", False, False)}
    assert all(0 <= r.control.chance <= r.control.named <= 1 for r in looked)


def test_inputs_that_are_rebuilt_from_answers_are_compared_with_the_mean_of_their_class(made):
    *_, found, _ = made
    (reads,) = [r for r in found if r.instances]
    assert reads.label.endswith("Reads, with explanations (saliency)")
    assert reads.asked == 5  # what was overheard, it has not asked
    assert reads.score.metrics["psnr"].n == 6
    assert 0.5 < reads.score.metrics["over floor"].value < 2


def test_pictures_lie_beside_their_nearest_samples(made):
    plan, folder, found, _ = made
    data = load_classes(plan.victim, 0, None)
    (record,) = of(found, attack="nearest-auxiliary", defense="none")
    kept = records.pictures(folder / plan.victim.id, record)
    assert kept["rebuilt"].shape == kept["private"].shape == kept["auxiliary"].shape == (3, 2, 1, 8, 8)
    assert kept["classes"].tolist() == [0, 1, 2]
    # What it shows are the attacker's own samples, so they are their own neighbors.
    assert np.array_equal(kept["rebuilt"], kept["auxiliary"])
    for label in range(3):
        own = data.train.inputs[data.train.labels == label].astype(np.float16)
        assert all((picture == own).all((1, 2, 3)).any() for picture in kept["private"][label])


def test_a_killed_study_goes_on_and_repeats_nothing_but_what_failed(made, monkeypatch):
    plan, folder, found, _ = made
    killed = next(r for r in found if r.attack.endswith("Steals"))
    (folder / plan.victim.id / records.CELLS / f"{killed.id}.json").unlink()
    told = []
    monkeypatch.setattr(judges, "STEPS", 12)
    again = class_level.study(plan, out=folder, say=quiet, tell=told.append)
    assert len(told) == 2  # what was refused is tried again
    assert [dump(replace(r, seconds=0)) for r in again] == [dump(replace(r, seconds=0)) for r in found]


def test_the_plan_that_a_study_keeps_has_the_same_cells(made):
    plan, folder, *_ = made
    kept = class_plan.load(folder / plan.victim.id / records.PLAN)
    assert [cell.id for cell in kept.cells()] == [cell.id for cell in plan.cells()]


def test_what_fails_is_recorded_with_its_sentence_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(judges, "STEPS", 12)
    text = PLAN.replace('name = "label-only"', 'name = "{here}:Unready"')
    text = text.replace('Steals"', 'Steals"\nfails = [true, false]\nside = 7')
    found = class_level.study(load(tmp_path, text), out=tmp_path, say=quiet, tell=quiet)
    assert {r.failed for r in found if r.defense != "none"} == {"It is not ready."}
    assert [r.failed for r in of(found, defense="none") if r.failed] == [
        "It fails.",
        "The attack shows an array of (4, 2, 1, 8, 7), and (4, 2, 1, 8, 8) was asked for.",
    ]
    assert len(of(found, defense="none", failed="")) == 6


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ((PLACES, "budget = 0"), "at least 1; leave it out for any number. 0 was given"),
        ((PLACES, "budget = [100, -1]"), "at least 1"),
        ((PLACES, 'position = "insider"'), "did you mean outsider"),
        ((PLACES, 'position = "head-holder"'), "A holder of the head stands at the cut, and the victim is not cut"),
        ((PLACES, 'position = "participant"'), "state training.clients"),
        ((PLACES, 'access = "label"'), "needs the victim's scores, and gets no more"),
        ((PLACES, 'access = "weights"\nposition = "outsider"'), "does not have"),
        (("images = 2", 'images = 2\naccess = "label"'), "needs the victim's scores, and gets no more"),
        (("images = 2", 'images = 2\naccess = "weights"'), "label or scores"),
        (('explanations = "saliency"', 'explanations = "words"'), "attack.explanations names 'words'"),
        (("images = 2", "images = 0"), "images must be 1 to"),
        (('against = "none"', 'against = "other"'), "defenses of this plan, names 'other'"),
        (('against = "none"', "after = 3"), "epochs of this plan, names 3"),
        (('name = "label-only"', 'name = "gaussian-noise"'), 'acts elsewhere; write at = "cut"'),
        (('name = "label-only"', 'name = "gaussian-noise"\nsigma = 1.0\nat = "cut"'), "the plan names none"),
        (('name = "label-only"', 'name = "label-only"\nat = "door"'), "defense.at names 'door'"),
        (('model = "lenet"', 'model = "lenet"\nprotocol = "fedavg"'), "cutlayer train"),
        (('name = "label-only"', 'name = "none"'), "Two entries are 'none'"),
    ],
)
def test_plans_that_make_no_sense_are_refused(tmp_path, change, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load(tmp_path, PLAN.replace(PLACES, *change[1:]) if change[0].startswith("position")
             else PLAN.replace(*change))  # fmt: skip


def test_an_attacker_with_samples_of_the_withheld_people_is_refused_with_their_number(tmp_path):
    np.savez(
        tmp_path / "theirs.npz",
        x=np.random.default_rng(0).random((60, 1, 8, 8), np.float32),
        y=np.repeat(["7", "8", "x"], 20),
    )
    plan = load(tmp_path, PLAN.replace("images = 2", 'images = 2\nauxiliary_data = "theirs.npz"'))
    with pytest.raises(ConfigError, match=r"hold [\d,]+ of 1 classes that are withheld"):
        class_level.study(plan, out=tmp_path, say=quiet, tell=quiet)


def test_more_pictures_than_the_attacker_has_and_a_class_without_samples_are_refused(tmp_path):
    for settings, complaint in (
        ({"images": "3", "auxiliary": "2"}, "has 2 samples, and 3 are to be shown"),
        ({"training.images": "1"}, "training samples lack"),
        ({"model": "text_gpt"}, "cannot take images"),
        ({"cut": "pol1"}, "cannot be cut at 'pol1'; did you mean pool1"),
    ):
        with pytest.raises(CutlayerError, match=complaint):
            class_level.study(load(tmp_path, **settings), out=tmp_path, say=quiet, tell=quiet)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ('data = "wine"\nmodel = "mlp"', r"samples of wine are rows.* pictures\. .*table_attributes\.py"),
        ('data = "documentation"\nmodel = "text_gpt"', r"documentation are sentences.* pictures\. .*split-text\.toml"),
    ],
)
def test_rows_and_sentences_are_refused_with_what_there_is_for_them(tmp_path, data, complaint):
    (tmp_path / "plan.toml").write_text(f'{data}\n[[attack]]\nname = "margin"\n')
    plan = class_plan.load(tmp_path / "plan.toml")
    with pytest.raises(ConfigError, match=complaint):
        class_level.study(plan, out=tmp_path, say=quiet, tell=quiet)


def test_an_attack_that_asks_less_than_it_shows_keeps_its_score_without_a_floor_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(judges, "STEPS", 12)
    text = PLAN.split("[[defense]]")[0].replace("images = 2", "images = 11")
    text += '[[attack]]\nname = "{here}:Echo"\nposition = "thief"'
    *_, echo = class_level.study(load(tmp_path, text), out=tmp_path, say=quiet, tell=quiet)
    assert (echo.asked, echo.sampled, echo.failed) == (10, None, "")
    assert echo.score is not None


def strangers(tmp_path):
    path = tmp_path / "strangers.npz"
    x = np.random.default_rng(0).random((60, 1, 8, 8), np.float32)
    np.savez(path, x=x, y=np.repeat(["x", "y", "z"], 20))
    return x, {"auxiliary_data": str(path)}


def test_judges_learn_the_classes_of_an_attacker_with_other_data_and_not_those_it_has_no_more(tmp_path):
    x, settings = strangers(tmp_path)
    data = load_classes(load(tmp_path, **settings).victim, 0, None)
    assert data.classes == ("5", "7", "9", "x", "y", "z")
    assert set(data.others.labels) == {3, 4, 5}
    assert all((x == image).all((1, 2, 3)).any() for image in data.others.inputs)
    assert not any((data.auxiliary.inputs == image).all((1, 2, 3)).any() for image in data.others.inputs)


def test_a_victim_that_learned_from_the_attackers_samples_is_another_with_other_samples(tmp_path):
    _, settings = strangers(tmp_path)
    found = []
    for plan in (load(tmp_path), load(tmp_path, **settings)):
        data = load_classes(plan.victim, 0, None)
        for placed in (Placed(Named("tl-dmi")), Placed(Named("none"))):
            victim = train_victim(plan.victim, 0, 1, placed, data, tmp_path, quiet)
            found.append(next(victim.model.parameters()))
    (public, plain), (other_public, other_plain) = found[:2], found[2:]
    assert not torch.equal(public, other_public)
    assert torch.equal(plain, other_plain)


def test_a_network_that_draws_is_attacked_without_the_cut_of_the_plan(tmp_path):
    plan = load(tmp_path, PLAN.replace("images = 2", 'images = 2\ncut = "pool1"'))
    data, said = load_classes(plan.victim, 0, None), []
    victim = train_victim(plan.victim, 0, 1, Placed(Named("last-layer-mid")), data, tmp_path, said.append)
    assert victim.halves is None
    assert "draws as it computes" in said[-1]
    with seen_from("outsider", victim, reply=Reply.SCORES, targets=(0,)) as view:
        first, second = (view.service.scores(torch.from_numpy(data.held_out.inputs[:20])) for _ in range(2))
    assert not torch.equal(first, second)
    assert view.asked == 40
