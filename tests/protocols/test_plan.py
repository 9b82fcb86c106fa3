"""Plans of a training: their file, their id, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from cutlayer.errors import ConfigError
from cutlayer.experiment import plan as experiment
from cutlayer.protocols.plan import KEYS, load, parse, toml
from cutlayer.protocols.unused import unused
from cutlayer.tables import Named

BASE: dict[str, Any] = {"data": "digits", "model": "lenet", "cut": "relu2", "protocol": "splitfed-v1"}

WHOLE = """
name = "all of it"
claim = "Every key is read."
data = "digits"
model = "lenet"
cut = ["conv1", "relu2", "relu2"]
clients = 3
rounds = 4
epochs = 2
batch = 16
seed = 9
threads = 2
optimizer_state = "average"
weighting = "uniform"
bn = "local"
sampling = 0.5
stragglers = "drop"
straggler_s = 3.5
samples = 300
test = 100
checkpoint_rounds = 2
evaluate_rounds = 2
record = true
auxiliary_every = 3
micro_batches = 2

[protocol]
name = "splitfed-v1"
head = "own"

[optimizer]
name = "sgd"
lr = 0.1
momentum = 0.9

[partition]
name = "dirichlet"
alpha = 0.1

[codec]
smashed = "int8:channel"
gradient = "fp16"
error_feedback = true

[defense]
name = "gaussian-noise"
sigma = 0.5
"""


def test_a_whole_plan_is_read_and_written_again(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(WHOLE)
    plan = load(tmp_path / "plan.toml")
    assert plan.cuts == ("conv1", "relu2", "relu2")
    assert [plan.cut_of(client) for client in (1, 3)] == ["conv1", "relu2"]
    assert (plan.row.head, plan.row.tail) == ("own", "copies")
    assert (plan.optimizer.name, plan.optimizer.momentum) == ("sgd", 0.9)
    assert plan.codec.error_feedback
    assert plan.defense == Named("gaussian-noise", {"sigma": 0.5})
    (tmp_path / "again.toml").write_text(toml(plan))
    assert load(tmp_path / "again.toml") == plan
    assert load(tmp_path / "again.toml").id == plan.id


def test_the_id_is_of_the_content() -> None:
    plan = parse(BASE)
    assert parse({**BASE, "name": "another", "claim": "none", "checkpoint_rounds": 3, "record": True}).id == plan.id
    assert parse({**BASE, "protocol": {"name": "splitfed-v3", "head": "averaged"}}).id == plan.id
    others = {"seed": 1}, {"rounds": 7}, {"optimizer": {"lr": 0.2}}, {"partition": "shards"}, {"bn": "local"}
    assert len({plan.id, *(parse({**BASE, **other}).id for other in others)}) == 6


def test_settings_change_a_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(toml(parse(BASE)))
    settings = {"optimizer.lr": "0.5", "protocol": "parallel", "protocol.sync": "step", "partition.alpha": "0.1"}
    plan = load(tmp_path / "plan.toml", {**settings, "cut": "conv1", "defense.name": "dropout", "defense.rate": "0.3"})
    assert (plan.optimizer.lr, plan.row.sync, plan.partition.alpha, plan.cut) == (0.5, "step", 0.1, "conv1")
    assert plan.defense == Named("dropout", {"rate": 0.3})
    with pytest.raises(ConfigError, match=r"did you mean optimizer\.lr"):
        load(tmp_path / "plan.toml", {"lr": "1"})


def test_centralised_is_one_client_with_all_data() -> None:
    plan = parse({**BASE, "protocol": "centralised", "clients": 10, "partition": {"name": "dirichlet"}})
    assert plan.clients == 1
    assert plan.partition.name == "iid"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"protocol": {"name": "splitfed-v1", "tail": "one"}}, "each need a copy of the tail"),
        ({"cut": ""}, "needs a cut"),
        ({"cut": ["conv1", "relu2"]}, "2 cuts for 5 clients"),
        ({"protocol": "vanilla", "cut": ["conv1", *["relu2"] * 4]}, "same cut at every client"),
        ({"protocol": "u-shaped"}, "name with end"),
        ({"end": "fc1"}, "second cut of a U-shaped"),
        ({"rouns": 3}, "did you mean rounds"),
        ({"rounds": 0}, "rounds must be 1 to"),
        ({"clients": "ten"}, "clients must be a whole number"),
        ({"sampling": 0.0}, "sampling must be above 0"),
        ({"bn": "locale"}, "bn must be shared or local"),
        ({"optimizer": {"name": "adamm"}}, "did you mean adam"),
        ({"optimizer": {"momentum": 0.9}}, "an option of sgd"),
        ({"partition": {"name": "dirichlett"}}, "did you mean dirichlet"),
        ({"partition": {"alpha": 0}}, "partition.alpha must be"),
        ({"codec": {"smashed": "int9"}}, "int9"),
        ({"defense": {"name": "nois"}}, "no defense named 'nois'"),
        ({"defense": {"name": "gaussian-noise", "sigma": [0.1, 0.2]}}, "2 were given"),
        ({"data": "minst"}, "did you mean mnist"),
        ({"model": "lenetbn"}, "did you mean lenet"),
        ({"protocol": "local", "optimizer_state": "average"}, "averages none"),
        ({"protocol": "local", "record": True}, "record"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse({**BASE, **changes})


def test_every_key_of_the_whole_plan_is_a_key() -> None:
    stated = {line.partition(" = ")[0] for line in WHOLE.splitlines() if " = " in line}
    missing = set(KEYS) - stated - {"protocol", "optimizer", "partition", "codec", "defense", "dp"}
    assert missing == {
        "end",
        "input",
        "classes",
        "gradient_defense",
        "update_defense",
        "secure_aggregation",
        "detectors",
    }


def test_a_plan_of_the_other_kind_is_named_with_its_command(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('data = "digits"\nmodel = "lenet"\ncut = "pool1"\n[measure]\ncount = 5\n')
    with pytest.raises(ConfigError, match=r"plan of experiments.*`cutlayer run .*run\.toml`"):
        load(tmp_path / "run.toml")
    (tmp_path / "train.toml").write_text(toml(parse(BASE)))
    with pytest.raises(ConfigError, match=r"plan of a training.*`cutlayer train .*train\.toml`"):
        experiment.load(tmp_path / "train.toml")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, ""),
        ({"auxiliary_every": 3}, "auxiliary_every = 3 (needs a protocol with local-loss)"),
        ({"auxiliary_every": 3, "protocol": "local-loss"}, ""),
        ({"partition": {"alpha": 0.1}}, "partition.alpha = 0.1 (needs the law dirichlet)"),
        ({"partition": {"name": "dirichlet", "alpha": 0.1}}, ""),
        (
            {"codec": {"smashed": "int8"}, "protocol": "fedavg", "cut": ""},
            "codec.smashed = int8 (needs a",
        ),
        ({"codec": {"smashed": "int8", "error_feedback": True}}, ""),
        (
            {"codec": {"gradient": "fp16"}, "protocol": "local-loss"},
            "codec.gradient = fp16 (needs a",
        ),
        ({"codec": {"error_feedback": True}}, "codec.error_feedback = True (needs a codec other than raw"),
        ({"protocol": "local"}, "cut = relu2 (needs a protocol with a tail)"),
        ({"protocol": "own-heads", "weighting": "uniform"}, "weighting = uniform (needs a protocol that averages)"),
        ({"straggler_s": 3.0}, "straggler_s = 3.0 (needs stragglers"),
        ({"dp": {"noise": 2.0}}, "dp.noise = 2.0 (needs dp.clip above 0)"),
    ],
)
def test_options_without_effect_are_named_and_not_refused(changes: dict[str, Any], says: str) -> None:
    said = unused(parse({**BASE, **changes}))
    assert said.startswith(f"Without effect in this plan: {says}") if says else not said
