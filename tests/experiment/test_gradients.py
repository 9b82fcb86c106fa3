"""Studies of attacks on updates: plans, the engine, and what a killed study finds again."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.errors import ConfigError
from cutlayer.experiment import gradient_plan, gradients
from cutlayer.experiment import plan as experiment_plan
from cutlayer.experiment.gradient_plan import Cell, UpdateKind
from cutlayer.records import gradients as records
from cutlayer.records.dataclass_json import dump
from cutlayer.report.gradients.terminal import text
from cutlayer.report.runs.page import write
from cutlayer.tables import Named

PLAN = """
data = "digits"
model = "lenet"
auxiliary = 20
clients = 2

[[update]]
samples = [1, 2]

[[defense]]
name = "none"

[[defense]]
name = "{here}:Halved"

[[attack]]
name = "mean"
images = 4

[[attack]]
name = "{here}:Peeks"
images = 4
knows = ["labels"]
at = 2
"""


@dataclass(kw_only=True)
class Halved(UpdateDefense):
    """Train on darker samples, and send the half of the gradient."""

    knob = "share"
    plain_words = "halves"
    share_kept: float = 0.5

    def augment(self, inputs, labels, rng, local):
        return inputs / 2, labels

    def protect_update(self, update, rng, state, local=None):
        return {name: value / 2 for name, value in update.items()}

    def protect(self, update, rng, state, local):
        return update


@dataclass(kw_only=True)
class Peeks(UpdateAttack):
    """Answer with the labels as brightness, and refuse a defended update."""

    plain_words = "peeks"

    def invert(self, view, observations):
        assert all(labels.tolist() == sorted(labels.tolist()) for labels in view.labels)
        if view.knows_defense and type(view.defense).__name__ == "Halved":
            raise ConfigError("It takes no halves.")
        return [
            Recovered(torch.zeros(o.samples, *view.input.shape), labels)
            for o, labels in zip(observations, view.labels, strict=True)
        ]


def load(tmp_path, text=PLAN, **settings):
    path = tmp_path / "plan.toml"
    path.write_text(text.replace("{here}", __file__))
    return gradient_plan.load(path, settings)


def quiet(_):
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    plan, told = load(folder), []
    found = gradients.study(plan, out=folder, say=quiet, tell=told.append)
    return plan, folder, found, told


def of(found, **fields):
    return [r for r in found if all(getattr(r, key) == value for key, value in fields.items())]


def test_every_cell_has_a_record_with_its_floors(made):
    plan, _, found, told = made
    assert [r.id for r in found] == [cell.id for cell in plan.cells()]
    assert len({r.id for r in found}) == len(told) == len(found)
    for samples, floors in (
        (1, {"mean sample", "class mean", "nearest gradient"}),
        (2, {"mean sample", "class mean", "nearest gradient", "batch mean"}),
    ):
        assert {r.attack for r in of(found, floor=True, samples=samples, defense="none")} == floors
        for defense in {r.defense for r in found} - {"none"}:
            floored = {r.attack for r in of(found, floor=True, samples=samples, defense=defense)}
            assert floored <= floors - {"nearest gradient"}
    assert {r.samples for r in found if r.attack.endswith("Peeks")} == {2}
    for r in found:
        assert r.updates * r.samples == 4
        assert r.own is None or r.own.n == 4
        assert r.accuracy is not None


def test_the_attack_is_the_floor_where_it_answers_the_same(made):
    *_, found, _ = made
    (attack,), (floor,) = (of(found, attack=name, samples=2, defense="none") for name in ("mean", "mean sample"))
    assert attack.own == floor.own
    assert attack.own.leakage_gain.value == 0


def test_an_attack_that_fails_is_recorded_with_its_sentence_and_the_others_go_on(tmp_path):
    plan = load(tmp_path, PLAN.replace('knows = ["labels"]', 'knows = ["labels", "defense"]'))
    found = gradients.study(plan, out=tmp_path, say=quiet, tell=quiet)
    failed = [r for r in found if r.failed]
    assert {(r.defense_label, r.failed) for r in failed} == {("Halved", "It takes no halves.")}
    assert all(r.own is None for r in failed)
    assert found[-1].failed or found[-1].own


def test_what_a_defense_has_changed_is_scored_against_both(made):
    *_, found, _ = made
    for r in found:
        assert (r.used is not None) == (r.defense != "none" and not r.failed)
    (halved,) = [r for r in found if r.defense != "none" and r.attack == "batch mean"]
    # It is the mean of the darker samples.
    assert halved.used.leakage_gain.value > halved.own.leakage_gain.value


def test_a_killed_study_goes_on_and_repeats_nothing(made, monkeypatch):
    plan, folder, found, _ = made
    killed = found[3]
    (folder / plan.victim.id / records.CELLS / f"{killed.id}.json").unlink()
    told = []
    again = gradients.study(plan, out=folder, say=quiet, tell=told.append)
    assert len(told) == 1
    assert [replace(r, seconds=0) for r in again] == [replace(r, seconds=0) for r in found]
    monkeypatch.setattr(gradients, "_target", None)  # nothing is left to be made
    assert [r.id for r in gradients.study(plan, out=folder, say=quiet, tell=quiet)] == [r.id for r in found]


def test_a_damaged_record_is_made_again(made):
    plan, folder, found, _ = made
    path = folder / plan.victim.id / records.CELLS / f"{found[0].id}.json"
    path.write_text(path.read_text()[:40])
    told = []
    gradients.study(plan, out=folder, say=quiet, tell=told.append)
    assert len(told) == 1
    assert records.read(path).own == found[0].own


def test_a_record_is_read_as_it_was_written_and_another_schema_is_refused(made, tmp_path):
    plan, folder, found, _ = made
    path = folder / plan.victim.id / records.CELLS / f"{found[0].id}.json"
    read, written = dump(records.read(path)), dump(found[0])
    assert read | {"seconds": 0} == written | {"seconds": 0}
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**json.loads(path.read_text()), "schema": 9}))
    with pytest.raises(ValueError, match="schema 9"):
        records.read(other)


def test_pictures_are_paired(made):
    plan, folder, found, _ = made
    (record,) = of(found, attack="nearest gradient", samples=2, defense="none")
    kept = records.pictures(folder / plan.victim.id, record)
    assert kept["originals"].shape == kept["rebuilt"].shape == (4, 1, 8, 8)
    error = np.square(kept["originals"].astype(np.float64) - kept["rebuilt"]).mean((1, 2, 3))
    assert error.mean() == pytest.approx(record.own.metrics["mse"].value, rel=1e-2)


def test_the_plan_that_a_study_keeps_has_the_same_cells(made):
    plan, folder, *_ = made
    kept = gradient_plan.load(folder / plan.victim.id / records.PLAN)
    assert [cell.id for cell in kept.cells()] == [cell.id for cell in plan.cells()]
    assert kept == plan


def test_a_sum_is_attacked_as_one_update_of_all_clients(tmp_path):
    """The mean of all samples is what the sum of gradients of a bare linear layer's bias tells."""
    plan = load(tmp_path, PLAN.replace("images = 4\nknows", 'of = "sum"\nimages = 4\nknows'))
    found = [r for r in gradients.study(plan, out=tmp_path, say=quiet, tell=quiet) if r.of == "sum"]
    assert {(r.updates, r.own.n) for r in found if r.own} == {(1, 4)}
    assert {r.label for r in found} == {
        "Peeks, told the labels, of the sum",
        "Peeks, told the labels, not told the defense, of the sum",
    }


def test_the_sum_of_what_clients_send_is_the_mean_of_their_gradients():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    inputs, labels = torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 1, 0])
    from cutlayer.attacks.gradients.client import mixed, observed
    from cutlayer.defenses.updates.none import Unprotected

    each = [
        observed(model, inputs[k : k + 2], labels[k : k + 2], Unprotected(), np.random.default_rng()) for k in (0, 2)
    ]
    whole = observed(model, inputs, labels, Unprotected(), np.random.default_rng()).observation
    summed = gradients._summed(each, Unprotected(), np.random.default_rng())
    assert summed.observation.samples == 4
    for name, value in whole.update.items():
        assert torch.allclose(summed.observation.update[name], value, atol=1e-7)
    stepped = [
        observed(
            model, inputs[k : k + 2], labels[k : k + 2], Unprotected(), np.random.default_rng(), local_steps=1, lr=0.5
        )
        for k in (0, 2)
    ]
    one_step = gradients._summed(stepped, Unprotected(), np.random.default_rng())
    # Whoever repeats the step takes it with the samples of all clients.
    assert (one_step.observation.samples, one_step.observation.batch) == (4, 4)
    for name, value in whole.update.items():
        assert torch.allclose(one_step.observation.update[name], -0.5 * value, atol=1e-6)
    single = mixed(each, Unprotected(), np.random.default_rng())
    for one, other in zip(single, each, strict=True):
        assert torch.allclose(one.observation.update["1.bias"], other.observation.update["1.bias"], atol=1e-7)


def test_the_draws_of_clients_are_not_those_of_an_attacker_with_the_same_seed(tmp_path):
    cell = load(tmp_path).cells()[0]
    clients = gradients._rng(cell, 0).integers(2**63)
    for own in ([cell.seed], [cell.seed, 0], [cell.seed, cell.epochs, 0, 0]):
        assert np.random.default_rng(own).integers(2**63) != clients


@dataclass(kw_only=True)
class Short(UpdateAttack):
    """Answer with the exact first sample of each update, and leave the others out."""

    plain_words = "answers in part"

    def invert(self, view, observations):
        return [Recovered(torch.from_numpy(view.auxiliary.inputs[:1])) for _ in observations]


def test_an_attack_that_leaves_samples_out_has_no_score_of_the_others(tmp_path):
    text = PLAN.format(here=__name__).replace(":Peeks", ":Short").replace('knows = ["labels"]\n', "")
    path = tmp_path / "short.toml"
    path.write_text(text)
    plan = gradient_plan.load(path)
    found = [r for r in gradients.study(plan, out=tmp_path, say=quiet, tell=quiet) if r.attack.endswith("Short")]
    assert found
    assert {(r.own, r.failed) for r in found} == {(None, "The attack answers with 1 of 2 samples.")}


def test_ids_count_what_decides_on_the_result_and_no_titles(tmp_path):
    plan = load(tmp_path)
    titled = load(
        tmp_path, 'name = "other"\nclaim = "c"\n' + PLAN.replace('name = "mean"', 'name = "mean"\ntitle = "T"')
    )
    assert [cell.id for cell in titled.cells()] == [cell.id for cell in plan.cells()]
    first = plan.cells()[0]
    others = [
        replace(first, seed=1),
        replace(first, epochs=1),
        replace(first, kind=UpdateKind(samples=3)),
        replace(first, kind=UpdateKind(steps=2)),
        replace(first, attacker=replace(first.attacker, images=5)),
        replace(first, attacker=replace(first.attacker, of="sum")),
        replace(first, victim=replace(first.victim, auxiliary=21)),
        replace(first, victim=replace(first.victim, training=replace(first.victim.training, lr=0.1))),
    ]
    assert len({first.id, *(cell.id for cell in others)}) == 1 + len(others)
    # Golden: records of a study are found again by later versions.
    cell = Cell(
        replace(first.victim),
        0,
        0,
        UpdateKind(),
        Named("none"),
        replace(first.attacker, attack=Named("mean"), floor=False),
    )
    assert (first.victim.id, cell.id) == GOLDEN


GOLDEN = ("504941e2cb77", "5b7c4822ba84")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("auxiliary = 20", "auxilliary = 20"), "Unknown key 'auxilliary'; did you mean auxiliary?"),
        (('name = "mean"', 'name = "meen"'), "There is no update attack named 'meen'; did you mean mean?"),
        (('knows = ["labels"]', 'knows = ["label"]'), "attack.knows names 'label'; did you mean labels?"),
        (("at = 2", "at = 3"), "attack.at names 3; known: 1, 2."),
        (("at = 2", 'against = "nane"'), "attack.against names 'nane'; did you mean none?"),
        (("at = 2", 'of = "all"'), "attack.of must be client or sum; 'all' was given."),
        (("samples = [1, 2]", "samples = 0"), "update.samples must be 1 to 65,536; 0 was given."),
        (("samples = [1, 2]", "sample = 1"), "Unknown update key 'sample'; did you mean samples?"),
        (('data = "digits"', ""), "The key 'data' is missing."),
        (
            ('name = "mean"', 'name = "gradient-ridge"\nlabels = "yinn"'),
            "way to the labels named 'yinn'; did you mean yin",
        ),
        (
            ('name = "mean"', 'name = "through-hypernetwork"\nattack = "ratoi"'),
            "no update attack named 'ratoi'; did you",
        ),
        (('name = "mean"', 'name = "through-hypernetwork"\nattack = "through-hypernetwork"'), "one that is not itself"),
        (("clients = 2", 'clients = 2\n[[published]]\nattack = "mean"'), "published needs the key 'source'."),
        (("clients = 2", "clients = 1"), "clients must be 2 to 1,000; 1 was given."),
        (("clients = 2", "[training]\nepochs = 2"), "epochs = [0, 2]"),
        (("images = 4\nknows", "images = 100_000\nknows"), None),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(tmp_path, change, words):
    text = PLAN.replace(*change)
    assert text != PLAN
    if words is None:
        with pytest.raises(ConfigError, match="private samples, and mean sample"):
            gradients.study(load(tmp_path, text), out=tmp_path, say=quiet, tell=quiet)
        return
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert words in str(error.value)


def test_a_plan_whose_attacks_meet_nothing_is_refused(tmp_path):
    text = PLAN.replace("images = 4", "images = 4\nafter = 7")
    with pytest.raises(ConfigError, match="No attack is run"):
        load(tmp_path, text)
    assert load(tmp_path, text, epochs="[0, 7]").cells()


def test_settings_change_a_value_and_unknown_ones_are_refused(tmp_path):
    assert load(tmp_path, **{"epochs": "[0, 2]"}).epochs == (0, 2)
    assert load(tmp_path, **{"training.images": "7"}).victim.training.images == 7
    with pytest.raises(ConfigError, match=r"did you mean training.images\?"):
        load(tmp_path, **{"images": "7"})


def test_plans_of_other_kinds_name_their_command(tmp_path):
    with pytest.raises(ConfigError, match="cutlayer train"):
        load(tmp_path, 'protocol = "vanilla"')
    with pytest.raises(ConfigError, match="cutlayer run"):
        load(tmp_path, 'cut = "conv1"')


def test_no_attack_has_an_option_that_the_plan_has():
    from cutlayer.registry import UPDATE_ATTACKS

    for name in UPDATE_ATTACKS:
        assert not {*gradient_plan.OWN_KEYS} & {*UPDATE_ATTACKS.options(name)}, name


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "experiments").glob("gradients-*.toml")), ids=lambda p: p.stem
)
def test_the_plans_that_come_with_cutlayer_can_be_read(path):
    plan = gradient_plan.load(path)
    assert plan.name == path.stem
    assert len(plan.seeds) == 2
    assert {0} < {*plan.epochs}
    closed = [a for a in plan.attackers if a.attack.name in ("ratio", "gradient-ridge", "class-mean", "imprint")]
    assert all(a.images >= 50 for a in closed)
    assert all(a.images >= 10 for a in plan.attackers)
    with pytest.raises(ConfigError, match="cutlayer gradients"):
        experiment_plan.load(path)


SENTENCES = """
data = "documentation"
input = "6"
model = "text_gpt"
auxiliary = 20

[[attack]]
name = "dager"
images = 3
"""


def test_a_study_of_sentences_writes_what_was_said_and_what_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr("cutlayer.attacks.gradients.floors.NEAREST_OF", 2)
    found = gradients.study(load(tmp_path, SENTENCES), out=tmp_path, say=quiet, tell=quiet)
    scores = {r.attack: r.own.metrics for r in found}
    assert {*scores} == {"mean sample", "class mean", "nearest gradient", "dager"}
    assert scores["dager"]["exact"].value == 1
    assert scores["mean sample"]["token-accuracy"].value < 0.5
    kept = records.pictures(tmp_path / found[0].study, of(found, attack="dager")[0])
    assert np.array_equal(kept["originals"], kept["rebuilt"])
    page = write(tmp_path).read_text()
    page = page.replace("\N{NO-BREAK SPACE}", " ")
    for words in ("100 % of tokens, 100 % of sentences", "6 of 6 tokens right", "right in every token"):
        assert words in page, words
    shown = text(found)
    assert "SENTENCES" in shown
    assert "ROUGE-L" in shown
