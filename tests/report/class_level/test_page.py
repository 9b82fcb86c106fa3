"""The part of the report on class-level inversion, and its table in the terminal, from records made by hand."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from cutlayer.records import class_level as records
from cutlayer.records.class_level import CEILING, ClassRecord, Control, Figures
from cutlayer.records.run import Estimate, Published
from cutlayer.report.class_level import terminal
from cutlayer.report.class_level.flags import flags
from cutlayer.report.class_level.groups import group
from cutlayer.report.class_level.story import belief, verdict
from cutlayer.report.runs.page import write

WHO = (2, "none")


def figures(agreed, **other):
    values = {
        "acc@1": agreed, "second": agreed, "acc@5": 1.0, "agreed": agreed, "closed": 0.9, "distance gain": 0.5,
        "diversity": 4.0, "real diversity": 4.0, "kid": 0.25, "real kid": 0.01, **other,
    }  # fmt: skip
    metrics = {name: Estimate(value, 5, value - 0.05, value + 0.05) for name, value in values.items()}
    return Figures(metrics=metrics, by_class={"agreed": (agreed, agreed / 2)})


def record(attack="genetic", agreed=0.6, *, score=None, **other):
    values = {"position": "outsider", "access": "scores", "defense": "none", "seed": 0, "epochs": 2, **other}
    key = hashlib.sha256(repr((attack, values)).encode()).hexdigest()[:12]
    accuracy = values.pop("accuracy", 0.98)
    return ClassRecord(
        id=key, study="abc", name="n", claim="A claim.", data=values.pop("data", "att-faces"), model="lenet",
        targets=("s1", "s2"), images=2, defense_label=values["defense"], attack=attack, label=attack, chance=0.05,
        accuracy=Estimate(accuracy, 100, accuracy, accuracy), judged=values.pop("judged", (0.99, 0.97)),
        judges=("A network.", "Another network."), score=None if values.get("failed") else score or figures(agreed),
        **values,
    )  # fmt: skip


FLOORS = (record(CEILING, 0.97, floor=True), record("nearest-auxiliary", 0.1, floor=True))


def study(*made):
    (found,) = group([*FLOORS, *made])
    return found


def shown(images=2):
    arrays = {name: np.full((2, images, 1, 8, 8), 0.5, np.float16) for name in ("rebuilt", "private", "auxiliary")}
    return arrays | {"classes": np.arange(2)}


def written(folder, *made):
    for one in made:
        records.write(folder / one.study, one, shown() if one.score else {})
    return write(folder).read_text()


def test_the_page_begins_with_the_pictures_and_says_what_they_mean_and_whose_they_are(tmp_path):
    page = written(
        tmp_path,
        *FLOORS,
        record(asked=400, control=Control(named=0.6, chance=0.3), sampled=figures(0.2)),
        record("brep", 0.3, access="label", asked=800, published=Published(values={"closed": 0.5}, source="A, 2020")),
        record("genetic", 0.2, defense="rounding"),
        record(
            "reads",
            instances=True,
            score=Figures(metrics={"over floor": Estimate(0.8, 5, 0.7, 0.9), "psnr": Estimate(12.5, 5, 12, 13)}),
        ),
        record("brep", defense="rounding", failed="It needs labels."),
    )
    for words in (
        "What does a model tell of those it was trained on?", "A claim.",
        "Nobody showed the attacker a picture of these 2 people", "recognize the right person in 60",
        "asking as often about the same prior, reaches 20", "Whose pictures these are", "Olivetti",
        "nearest private", "nearest stranger", "How much an attacker must ask", "What each defense leaves",
        "Worst attacker that gets label", "A, 2020", "It needs labels.", "60 %, 30 % for each class",
        "told more than the class", "12.50", "real 0.010",
        "cutlayer class-level runs/ID/class-level.toml",
    ):  # fmt: skip
        assert words.replace(" %", "\N{NO-BREAK SPACE}%") in page, words
    assert page.index("nearest private") < page.index("How often the judges recognize")
    assert page.count("<img") == 3 + 5 + 3  # beside real pictures, of each attack, of inputs
    assert "From its answers alone" not in page  # where nobody holds the weights


def test_what_answers_gave_away_stands_beside_what_weights_did(tmp_path):
    asked, held = record("genetic", 0.4, asked=400), record("pixels", 0.6, access="weights", prior="mean-image")
    page = written(tmp_path, *FLOORS, asked, record("brep", 0.2, access="label"), held)
    answers, weights = page.index("From its answers alone"), page.index("From its weights")
    assert answers < page.index("asked 200 times for each person") < weights < page.index("may recognize noise")
    assert "The attack changes single pixels" not in page[answers:weights]
    assert "best of 2 attacks" in page[answers:weights]
    shares = '<div class="shares"><span>40</span><span>20</span></div>'
    assert shares in page[answers:weights]
    assert "genetic\u201d breeds generated images" in page[answers:weights]
    assert "chosen by these very figures" not in page[weights:]


def test_a_verdict_says_no_more_than_the_figures_do():
    best = record(agreed=0.6)
    found = study(best)
    cell = found.worst(WHO)
    assert "the attack has found in the model." in verdict(found, WHO, cell)
    close = study(record(agreed=0.15))
    assert "if it is no chance" in verdict(close, WHO, close.worst(WHO))
    nothing = study(record(agreed=0.1))
    assert "nothing was given away" in verdict(nothing, WHO, nothing.worst(WHO))
    searched = study(record(agreed=0.3, sampled=figures(0.4)))
    assert "the search added nothing." in verdict(searched, WHO, searched.worst(WHO))
    shared = study(record(shared=True), *(replace(floor, shared=True) for floor in FLOORS))
    assert "Nobody showed" not in verdict(shared, WHO, shared.worst(WHO))
    assert "which are of the same classes" in belief(shared, WHO, shared.worst(WHO))
    far = study(record(score=figures(0.6, **{"distance gain": -1.0})))
    assert "no portraits" in belief(far, WHO, far.worst(WHO))
    unknown = study(record(score=figures(0.1, **{"distance gain": -1.0})))
    assert "no portraits" not in belief(unknown, WHO, unknown.worst(WHO))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([record(shared=True)], "holds samples of the same classes"),
        ([record(judged=(0.8, 0.95))], "A judge is weak"),
        ([record(accuracy=0.1)], "hardly learned its classes"),
        ([record(score=figures(0.5, second=0.1))], "The judges disagree"),
        ([record(agreed=0.05)], "No better than showing the attacker's own nearest samples: genetic (no defense"),
        ([record(agreed=0.3, prior="wgan"), record("eigen", 0.4, prior="linear")], "No better than a linear prior"),
        ([record(agreed=0.3, sampled=figures(0.4))], "No better than as many questions without a search: genetic"),
        ([record(score=figures(0.6, **{"distance gain": -0.2}))], "and farther from the victim's samples"),
        ([record(score=figures(0.6, diversity=1.0))], "Less than half as diverse"),
        ([record("label", 0.7, access="label"), record(agreed=0.5)], "gets the label alone and does better"),
        ([record(control=Control(named=0.6, chance=0.3))], "never trained on"),
    ],
)  # fmt: skip
def test_each_doubt_is_said(made, words):
    assert words in " ".join(flags(study(*made)))
    assert flags(study(record())) == []


def test_seeds_are_averaged_and_a_class_is_the_worst_over_all():
    cell = study(record(agreed=0.4), record(agreed=0.8, seed=1)).cell(WHO, "genetic")
    agreed = cell.metric("agreed")
    assert agreed.value == pytest.approx(0.6)
    assert (agreed.low, agreed.high) == (pytest.approx(0.35), pytest.approx(0.85))
    assert cell.worst == ("s2", pytest.approx(0.3))


def test_people_are_told_apart_where_each_seed_attacks_others():
    first = record(agreed=0.8)
    second = replace(record(agreed=0.2, seed=1), targets=("s2", "s3"))
    cell = study(first, second).cell(WHO, "genetic")
    assert cell.by_class == {"s1": 0.8, "s2": pytest.approx(0.3), "s3": 0.1}
    assert (cell.worst, cell.given_away) == (("s3", 0.1), 1)
    assert "1 of 3 people in most of their pictures, and s3 least (10" in verdict(study(first, second), WHO, cell)


def test_an_attack_that_two_plans_have_run_for_one_seed_counts_once():
    twice = record(agreed=0.4), record(agreed=0.4, control=Control(named=0.1, chance=0.05))
    for order in (twice, twice[::-1]):
        assert study(*order).cell(WHO, "genetic").records == twice[1:]
    failed = replace(twice[0], score=None, failed="It stopped.")
    assert study(failed, twice[1]).failed() == {}
    other = replace(twice[0], options={"pool": 10})
    assert len(study(*twice, other).cell(WHO, "genetic").records) == 2


def test_a_defense_that_no_attack_is_made_for_it_has_met_is_said(tmp_path):
    who = {"defense": "trap-mid", "access": "weights"}
    (said,) = flags(study(record("margin", **who)))
    assert "No attack that is made for the defense has met it (trap-mid, after 2 epochs)" in said
    assert "label-transfer, lokt" in said
    assert flags(study(record("margin", 0.9, **who), record("lokt", defense="trap-mid", access="label"))) == []
    failed = record("lokt", defense="trap-mid", access="label", failed="It stopped.")
    assert flags(study(record("margin", **who), failed)) == [said]
    drawn = {"defense": "last-layer-mid", "access": "weights"}
    assert "margin with draws" in " ".join(flags(study(record("margin", **drawn))))
    assert flags(study(record("margin", **drawn, options={"draws": 8}))) == []
    assert flags(study(record(defense="tl-dmi"))) == []


def test_the_terminal_says_it_too():
    text = terminal.text([*FLOORS, record(asked=400), record("brep", failed="It needs labels.")])
    assert "held-out (ceiling)" in text
    assert "nearest-auxiliary (floor)" in text
    assert "It needs labels." in text


def test_markup_in_a_record_stays_text(tmp_path):
    page = written(tmp_path, *FLOORS, record("<script>", failed="<b>"), record("<i>"))
    assert "<script>" not in page
    assert "<i>" not in page
