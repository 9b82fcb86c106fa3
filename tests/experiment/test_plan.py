import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cutlayer import options
from cutlayer.errors import ConfigError
from cutlayer.experiment import plan
from cutlayer.experiment.spec import Experiment, Training
from cutlayer.registry import ATTACKS, DEFENSES
from cutlayer.tables import Named

BASE = """
data = "digits"
model = "he_lenet"
cut = ["conv1", "ReLU2"]
seed = [0, 1]
defense = [{name = "none"}, {name = "gaussian-noise", sigma = [0.1, 0.5]}]
attack = {name = "averaging", n_releases = [1, 4]}
"""


NEAREST = '[[attack]]\nname = "nearest"\n'


def loaded(tmp_path, text, **settings):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return plan.load(path, settings)


def first(text):
    """A plan of one experiment on the first cut, followed by a text."""
    return f'data = "digits"\nmodel = "he_lenet"\ncut = "conv1"\n{text}'


def test_lists_expand_to_every_combination(tmp_path):
    experiments = loaded(tmp_path, BASE)
    assert len(experiments) == 2 * 3 * 2
    assert {e.defense.label for e in experiments} == {"none", "gaussian-noise sigma=0.1", "gaussian-noise sigma=0.5"}
    assert {len(e.attacks) for e in experiments} == {2}
    assert len({e.id for e in experiments}) == len(experiments)


def test_the_id_ignores_names_texts_and_spelled_out_defaults():
    plain = Experiment("digits", "he_lenet", "conv1")
    assert plain.id == replace(plain, name="other", claim="text", training=Training()).id
    assert plain.id != replace(plain, training=Training(epochs=5)).id
    assert plain.id != replace(plain, defense=Named("gaussian-noise", {"sigma": 0.1})).id


def test_ids_do_not_change_between_releases():
    """A new id orphans every finished run: change these values only together with the meaning of a record."""
    assert Experiment("digits", "he_lenet", "conv1").id == "f9ffb4117910"
    noisy = Experiment("photos", "vgg11_bn", "features.7", seed=3, defense=Named("gaussian-noise", {"sigma": 0.5}))
    assert noisy.id == "c319f0a11b67"


def test_a_title_names_and_changes_nothing_else(tmp_path):
    (a,), (b,) = (loaded(tmp_path, first(NEAREST + title)) for title in ("", 'title = "look up"\n'))
    assert b.attacks[0].label == "look up"
    assert a.id == b.id


def test_two_attacks_must_differ_in_what_they_are_and_are_called(tmp_path):
    for second in (NEAREST, NEAREST + 'title = "again"\n', '[[attack]]\nname = "ridge"\ntitle = "nearest"\n'):
        with pytest.raises(ConfigError, match="Two attacks"):
            loaded(tmp_path, first(NEAREST + second))


def test_an_option_at_its_default_is_the_same_experiment(tmp_path):
    (a,), (b,) = (loaded(tmp_path, first(NEAREST + option)) for option in ("", 'metric = "l2"\n'))
    assert a.id == b.id


def test_what_is_recorded_reads_back_to_the_same_experiment(tmp_path):
    for experiment in loaded(tmp_path, BASE):
        (again,) = loaded(tmp_path, plan.toml(experiment))
        assert (again, again.id) == (experiment, experiment.id)


def test_settings_reach_values_sections_and_every_entry_that_has_the_option(tmp_path):
    settings = {"seed": "7", "training.epochs": "1", "defense.sigma": "0.25", "cut": "conv1"}
    experiments = loaded(tmp_path, BASE, **settings)
    assert {(e.seed, e.training.epochs, e.cut) for e in experiments} == {(7, 1, "conv1")}
    assert {e.defense.label for e in experiments} == {"none", "gaussian-noise sigma=0.25"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model": "he_lenett"}, "he_lenet"),
        ({"data": "digit"}, "digits"),
        ({"sed": "1"}, "seed"),
        ({"seed": "one"}, "seed must be a whole number"),
        ({"cut": "3"}, "cut must be a text"),
        ({"training.epoch": "1"}, "epochs"),
        ({"training.epochs": "1.5"}, "must be a whole number"),
        ({"training": "3"}, "table"),
        ({"defense.sigmas": "1"}, "sigmas"),
        ({"defense.sigma": "-1"}, "sigma"),
        ({"defense.sigma": "nan"}, "sigma"),
        ({"attack.name": "rigde"}, "ridge"),
        ({"attack.n_releases": "'many'"}, "n_releases"),
        ({"measure.codec": "rwa"}, "raw"),
        ({"deployment.transport": "zqm"}, "zmq"),
        ({"deployment.transport": "inprocess"}, "must be grpc or zmq, .*'inprocess' was given"),
        ({"deployment.transport": "oip+grpc"}, "must be grpc or zmq"),
        ({"deployment.head": "tensorflow"}, "onnx"),
    ],
)
def test_what_is_wrong_is_named_with_the_near_ones(tmp_path, change, complaint):
    with pytest.raises(ConfigError, match=complaint):
        loaded(tmp_path, BASE + "[[deployment]]\n", **change)


def test_a_plan_that_is_no_toml_or_is_missing(tmp_path):
    with pytest.raises(ConfigError, match="no valid TOML"):
        loaded(tmp_path, "data = ")
    with pytest.raises(ConfigError, match="no experiment file"):
        plan.load(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="'cut' is missing"):
        loaded(tmp_path, 'data = "digits"\nmodel = "he_lenet"\n')


def test_a_defense_may_be_followed_by_another_one(tmp_path):
    text = first('[[defense]]\nname = "laplace-noise"\nscale = 0.5\n')
    experiments = loaded(tmp_path, text + 'then = {name = "gaussian-noise", sigma = [0.1, 0.2]}\n')
    assert [e.defense.label for e in experiments] == [
        f"laplace-noise scale=0.5 then gaussian-noise sigma={sigma}" for sigma in (0.1, 0.2)
    ]
    (back,) = loaded(tmp_path, plan.toml(experiments[0]))
    assert (back, back.id) == (experiments[0], experiments[0].id)
    with pytest.raises(ConfigError, match="no option 'sigmma'"):
        loaded(tmp_path, text + 'then = {name = "gaussian-noise", sigmma = 0.1}\n')


AXES = """
data = ["photos", "fashion-mnist"]
cut = ["conv1", "ReLU2"]
seed = [0, 1]
measure = {codec = ["raw", "int8"]}
"""


def test_data_models_and_codecs_are_axes_and_a_model_may_have_cuts_of_its_own(tmp_path):
    models = '[[model]]\nname = "he_lenet"\n[[model]]\nname = "resnet20"\ncut = "layer1.2"\n'
    experiments = loaded(tmp_path, AXES + models)
    assert len({e.id for e in experiments}) == len(experiments) == 2 * (2 + 1) * 2 * 2
    assert {(e.model, e.cut) for e in experiments} == {
        ("he_lenet", "conv1"), ("he_lenet", "ReLU2"), ("resnet20", "layer1.2"),
    }  # fmt: skip
    assert {e.measure.codec for e in experiments} == {"raw", "int8"}
    names = loaded(tmp_path, 'model = ["he_lenet", "lenet_bn"]\n' + AXES)
    assert {(e.data, e.model) for e in names} == {
        (data, model) for data in ("photos", "fashion-mnist") for model in ("he_lenet", "lenet_bn")
    }
    for experiment in experiments:
        (again,) = loaded(tmp_path, plan.toml(experiment))
        assert (again, again.id) == (experiment, experiment.id)


def test_one_value_and_a_list_of_one_are_the_same_experiment(tmp_path):
    (one,) = loaded(tmp_path, first('[measure]\ncodec = "int8"\n'))
    listed = 'data = ["digits"]\nmeasure = {codec = ["int8"]}\n[[model]]\nname = "he_lenet"\ncut = ["conv1"]\n'
    assert loaded(tmp_path, listed) == [one]


def test_weights_decide_on_the_epochs_of_their_own_model_alone(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"weights")
    models = '[[model]]\nname = "he_lenet"\nweights = "weights.pth"\n[[model]]\nname = "lenet_bn"\n'
    experiments = loaded(tmp_path, 'data = "photos"\ncut = "conv1"\n' + models)
    assert [e.training.epochs for e in experiments] == [0, 4]


def test_settings_reach_every_model_and_replace_an_axis(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"weights")
    weights = {"model.weights": str(tmp_path / "weights.pth")}
    assert {e.start.weights for e in loaded(tmp_path, 'model = ["he_lenet", "resnet20"]\n' + AXES, **weights)} == {
        str(tmp_path / "weights.pth")
    }
    changed = {"data": '["digits", "photos"]', "measure.codec": "fp16"}
    experiments = loaded(tmp_path, 'model = "he_lenet"\n' + AXES, **changed)
    assert {(e.data, e.measure.codec) for e in experiments} == {("digits", "fp16"), ("photos", "fp16")}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": "[]"}, "data is an empty list; it needs a value"),
        ({"model": "[]"}, "model is an empty list; it needs a value"),
        ({"measure.codec": "[]"}, "measure.codec is an empty list; it needs a value"),
        ({"model.cut": "[]"}, "model.cut is an empty list; it needs a value"),
        ({"data": '["photos", "fotos"]'}, "There is no dataset named 'fotos'; did you mean photos"),
        ({"model": '["he_lenet", "he_lenett"]'}, "There is no model named 'he_lenett'; did you mean he_lenet"),
        ({"measure.codec": '["raw", "int9"]'}, "There is no codec named 'int9'; did you mean int8"),
        ({"model": '["he_lenet", 3]'}, "model must be a text; 3 was given"),
        ({"model": "[[]]"}, "model must be a text; [] was given"),
        ({"data": "3"}, "data must be a text; 3 was given"),
        ({"measure.codec": "[8]"}, "measure.codec must be a text; 8 was given"),
    ],
)
def test_an_axis_that_is_empty_or_names_an_unknown_thing_is_refused(tmp_path, change, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        loaded(tmp_path, 'model = "he_lenet"\n' + AXES, **change)


def test_a_plan_says_what_its_claim_expects(tmp_path):
    expect = '\nexpect = ["leakage of gaussian-noise sigma=0.5 < leakage of none", "accuracy of none > 0.5"]\n'
    experiments = loaded(tmp_path, expect + BASE)
    assert experiments[0].expect == (
        "leakage of gaussian-noise sigma=0.5 < leakage of none",
        "accuracy of none > 0.5",
    )
    assert [e.id for e in experiments] == [e.id for e in loaded(tmp_path, BASE)], "it is a text"
    (again,) = loaded(tmp_path, plan.toml(experiments[0]))
    assert again == experiments[0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("more privacy", "expect takes inequalities"),
        ("leakage of none = 0.5", "expect takes inequalities"),
        ("0.5 < leakage of none", "expect takes inequalities"),
        (
            "leakage of nome < 0.5",
            "names the defense 'nome'.*did you mean none.*has: gaussian-noise sigma=0.1, ",
        ),
        ("leakage of patrol < 0.5", "names the defense 'patrol'.*plan has: .*gaussian-noise sigma=0.5, none\\."),
        ("leakege of none < 0.5", "names the figure 'leakege'.*did you mean leakage"),
        ("leakage of none by averagin < 0.5", "names the attack 'averagin'.*did you mean averaging"),
    ],
)
def test_an_expectation_that_no_figure_can_meet_is_refused(tmp_path, text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        loaded(tmp_path, f"expect = {[text]}\n{BASE}")


def test_the_path_of_data_is_relative_to_the_plan_and_its_content_is_in_the_id(tmp_path):
    def images(folder, shade):
        folder.mkdir()
        np.save(folder / "x.npy", np.full((8, 16, 16), shade, np.uint8))
        return folder

    text = first("").replace("digits", "mine")
    images(tmp_path / "mine", 0)
    (experiment,) = loaded(tmp_path, text)
    assert experiment.data == str(tmp_path / "mine")
    id_before = experiment.id
    assert loaded(tmp_path, plan.toml(experiment))[0].id == id_before
    (resized,) = loaded(tmp_path, 'input = "1x20x20"\n' + text)
    assert resized.id != id_before
    assert loaded(tmp_path, plan.toml(resized))[0] == resized
    (tmp_path / "mine").rename(tmp_path / "moved")
    (moved,) = loaded(tmp_path, text.replace("mine", "./moved"))
    assert moved.id == id_before
    images(tmp_path / "other", 1)
    assert loaded(tmp_path, text.replace("mine", "other/"))[0].id != id_before


def test_a_size_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"CxHxW, such as 3x32x32, or .* such as 64; '64x64' was given"):
        loaded(tmp_path, 'input = "64x64"\n' + first(""))


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("nonsense", "takes the keys of a plan, such as seed, training.epochs or measure.codec"),
        ("epochs", "did you mean training.epochs"),
        ("trainin.epochs", "did you mean training.epochs"),
        ("cuts", "did you mean cut"),
        ("attack.n_relases", "did you mean attack.n_releases"),
        ("defense.unknown", "known: defense.name, defense.title, defense.then"),
        ("measure.unknown", "known: measure.count, measure.private"),
    ],
)
def test_an_unknown_setting_is_named_with_the_full_names_of_those_that_are_near(tmp_path, key, complaint):
    with pytest.raises(ConfigError, match=f"--set knows no '{key}' in this plan; .*{complaint}"):
        loaded(tmp_path, BASE, **{key: "1"})


def test_a_byte_order_mark_changes_nothing(tmp_path):
    (experiment,) = loaded(tmp_path, first(""))
    assert loaded(tmp_path, "\ufeff" + first("")) == [experiment]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("training = {epochs = -1}", "training.epochs must be 0 to 100,000; -1 was given"),
        ("training = {batch = 0}", "training.batch must be 1 to 65,536; 0 was given"),
        ("training = {lr = 0.0}", "training.lr must be above 0 and at most 1,000; 0.0 was given"),
        ("training = {lr = nan}", "training.lr must be a number, above 0 and at most 1,000; nan was given"),
        ("training = {epochs = [1, 2]}", "training.epochs must be a whole number, 0 to 100,000; [1, 2] was given"),
        ("training = 3", "training must be a table"),
        ("measure = {edge_threads = 0}", "measure.edge_threads must be 1 to 1,024; 0 was given"),
        ("measure = {warmup = -5}", "measure.warmup must be 0 to 10,000,000; -5 was given"),
        ("measure = {count = 0}", "measure.count must be 1 to 10,000,000; 0 was given"),
        ("seed = -1", "seed must be 0 to 4,294,967,295; -1 was given"),
        ("seed = [0, -1]", "seed must be 0 to 4,294,967,295; -1 was given"),
        ("seed = []", "seed is an empty list; it needs a value"),
        ("seed = true", "seed must be a whole number, 0 to 4,294,967,295; True was given"),
        ("cut = []", "cut is an empty list"),
        ("attack = []", "attack must be a table"),
        ("published = 5", "published must be a table"),
        ('input = "3x999999x9"', "at most 65,536 on each side"),
        ('attack = {name = "decoder", epochs = 0}', "decoder.epochs must be 1 to 10,000,000; 0 was given"),
        ('attack = {name = "decoder", epochs = []}', "epochs is an empty list"),
        ('attack = {name = "white-box", lr = [0.5, -1.0]}', "white-box.lr must be above 0 and at most 1,000; -1.0"),
        ('attack = {name = "white-box", lr = 3}', "white-box.lr must be a list; 3 was given"),
        ('attack = {name = "averaging", options = 3}', "averaging.options must be a table; 3 was given"),
        (
            'attack = {name = "averaging", options = {n_auxiliary = -1}}',
            "ridge.n_auxiliary must be 0 to 10,000,000; -1",
        ),
        ('defense = {name = "quantize", bits = 17}', "quantize.bits must be 0 to 16; 17 was given"),
        (
            'defense = {name = "none", then = {name = "dropout", rate = 2.0}}',
            "dropout.rate must be 0 to 1; 2.0 was given",
        ),
        ("defense = {name = 3}", "defense.name must be a text; 3 was given"),
    ],
)
def test_numbers_are_checked_for_meaning_and_the_key_is_named(tmp_path, text, sentence):
    base = {"data": '"digits"', "model": '"he_lenet"', "cut": '"conv1"'}
    plan_text = "\n".join(f"{key} = {value}" for key, value in base.items() if not text.startswith(f"{key} ="))
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        loaded(tmp_path, f"{plan_text}\n{text}")


def test_options_of_attacks_and_defenses_have_bounds_that_hold_their_defaults():
    for registry in (ATTACKS, DEFENSES):
        for name in registry:
            for option, parameter in registry.options(name).items():
                kinds, bounds = options._parts(parameter.annotation)
                assert bounds or not {int, float} & {*kinds}, f"{name}.{option}: write its bounds beside it"
                if parameter.default is not parameter.empty:
                    options.check(option, parameter.annotation, parameter.default)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_a_byte_order_mark_is_passed_over_or_named(tmp_path, encoding):
    path = tmp_path / "plan.toml"
    path.write_text(first('claim = "µ"\n'), encoding=encoding)
    if encoding == "utf-8-sig":
        assert plan.load(path)[0].claim == "µ"
        return
    with pytest.raises(ConfigError, match="mark of UTF-16" if encoding == "utf-16" else "save it as UTF-8"):
        plan.load(path)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_plan_that_is_no_file(tmp_path, kind):
    path = tmp_path / "plan.toml"
    os.mkdir(path) if kind == "folder" else os.mkfifo(path)
    with pytest.raises(ConfigError, match=r"cannot be read: (is a directory|it is a pipe)"):
        plan.load(path)


def test_another_encoding_of_the_terminal_garbles_no_record(tmp_path):
    (tmp_path / "plan.toml").write_text(first('claim = "µ ∞"\n'), encoding="utf-8-sig")
    program = (
        "import sys; from pathlib import Path; from cutlayer.experiment import plan;"
        "from cutlayer.terminal import tell; from cutlayer.records.files import write_text;"
        "found = plan.load(Path(sys.argv[1])); write_text(Path(sys.argv[2]), plan.toml(found[0])); tell(found[0].claim)"
    )
    command = [sys.executable, "-c", program, tmp_path / "plan.toml", tmp_path / "again.toml"]
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | variables)
    assert done.stdout == "µ ∞\n".encode("latin-1", "backslashreplace")
    assert plan.load(tmp_path / "again.toml")[0].claim == "µ ∞"
