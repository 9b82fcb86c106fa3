"""What becomes of an attack that fails, and of the others."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import CLOUD, SMASHED, VANTAGES, Access
from cutlayer.data.parts import from_one
from cutlayer.data.splits import Dataset
from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError, WithheldError
from cutlayer.experiment import adversary
from cutlayer.experiment.flags import failures
from cutlayer.experiment.plan import parse
from cutlayer.experiment.run import check
from cutlayer.privacy.score import Chosen
from cutlayer.privacy.view import view
from cutlayer.registry import ATTACKS, DEFENSES
from cutlayer.spec import TensorSpec
from cutlayer.tables import Named

IMAGES = np.random.default_rng(0).random((64, 1, 4, 4), dtype=np.float32)
DATA = from_one("toy", ("one",), Dataset(IMAGES, np.zeros(64, np.int64)), 0)
N = len(DATA.private)


@dataclass(kw_only=True)
class Odd(Attack):
    """An attack that does what it is told to."""

    batch: int = 64
    does: str = "nan"

    def fit(self, view):
        if self.does == "reach":
            _ = view.head
        if self.does == "claim":
            raise torch.OutOfMemoryError("CUDA out of memory")

    def invert(self, smashed):
        match self.does:
            case "nan":
                return torch.cat([torch.full((1, 1, 4, 4), torch.nan), torch.zeros(len(smashed) - 1, 1, 4, 4)])
            case "shape":
                return smashed.flatten(1)
            case "range":
                return torch.full((len(smashed), 1, 4, 4), 1.5)
            case "raise":
                torch.linalg.cholesky(torch.zeros(2, 2))
            case "memory":
                raise MemoryError
        return smashed


def view_for(named, attack):
    return view(
        attack.needs, input=TensorSpec((1, 4, 4), "float32", 0.0, 1.0), smashed=TensorSpec((1, 4, 4)),
        auxiliary=DATA.auxiliary, query=lambda images: images, defense=Defense(), device=torch.device("cpu"),
    )  # fmt: skip


def attacked(tmp_path, *attacks, truth=DATA):
    seen = {"zmq-onnx": {SMASHED: DATA.private.inputs[None]}}
    return adversary.attack_all(attacks, view_for, seen, truth, Chosen(), tmp_path, print)


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("nan", f"It diverged: 1 of {N} reconstructions hold what is no finite number."),
        ("shape", f"It gives ({N}, 16) where ({N}, 1, 4, 4) is needed."),
        ("range", "It gives values outside [0, 1]; clamp its reconstructions."),
        ("reach", "This view withholds the head from the attacker: that needs white-box access, and query-free"),
    ],
)
def test_one_that_fails_is_a_row_with_the_reason_and_the_others_go_on(tmp_path, does, reason):
    odd, floor = (Named("mine.py:Odd", title="odd"), Odd(does=does)), (Named("mean-image"), ATTACKS.make("mean-image"))
    achieved, failed = attacked(tmp_path, odd, floor)
    assert [row.label for row in achieved.rows] == ["mean-image"]
    assert [(entry.label, entry.access) for entry in failed] == [("odd", "QUERY_FREE")]
    assert failed[0].reason.startswith(reason)
    (flag,) = failures(failed)
    assert flag.flag == "attack-failed"
    assert f"odd failed and has no figure: {reason}" in flag.text
    pictures, scores = adversary.kept([odd, floor], DATA, N, tmp_path)
    assert list(pictures.rebuilt) == [("zmq-onnx", "mean-image")]
    assert all("/mean-image/" in name for name in scores)


def test_an_error_of_its_own_is_named_with_its_place(tmp_path):
    floor = (Named("mean-image"), ATTACKS.make("mean-image"))
    _, (entry,) = attacked(tmp_path, (Named("mine.py:Odd"), Odd(does="raise")), floor)
    assert "LinAlgError in test_adversary.py, line" in entry.reason


@pytest.mark.parametrize("does", ["claim", "memory"])
def test_out_of_memory_says_which_batch_to_try(tmp_path, does):
    floor = (Named("mean-image"), ATTACKS.make("mean-image"))
    _, (entry,) = attacked(tmp_path, (Named("mine.py:Odd"), Odd(does=does)), floor)
    assert entry.reason.startswith("It ran out of memory; try it with batch = 32, or with fewer inputs")


def test_where_all_fail_the_run_ends(tmp_path):
    with pytest.raises(ConfigError, match=r"No attack worked. odd: It diverged"):
        attacked(tmp_path, (Named("mine.py:Odd", title="odd"), Odd()))


def test_without_the_truth_there_are_reconstructions_and_no_rows(tmp_path):
    floor = (Named("mean-image"), ATTACKS.make("mean-image"))
    assert attacked(tmp_path, floor, truth=None) == (adversary.Achieved(), [])
    pictures, scores = adversary.kept([floor], DATA, N, tmp_path)
    assert pictures.rebuilt["zmq-onnx", "mean-image"].shape == (N, 1, 4, 4)
    assert not scores


def test_an_attack_whose_access_is_not_granted_is_refused_with_both_names():
    table = {"data": "digits", "model": "resnet20", "cut": "layer1", "attack": [{"name": "white-box"}]}
    (experiment,) = parse(table | {"measure": {"access": "black-box"}})
    with pytest.raises(WithheldError, match="white-box needs white-box access, and black-box access is granted"):
        check(experiment, DATA)
    adversary.check_granted(experiment.attacks, Access.WHITE_BOX, CLOUD)
    with pytest.raises(ConfigError, match="did you mean black-box"):
        parse(table | {"measure": {"access": "blackbox"}})


def test_an_attack_that_sees_nothing_from_its_vantage_is_refused():
    table = {"data": "digits", "model": "resnet20", "cut": "layer1", "attack": [{"name": "ridge"}]}
    (experiment,) = parse(table | {"measure": {"vantage": "encrypted-link"}})
    with pytest.raises(
        WithheldError, match="ridge observes the smashed data of each message, and at the vantage encrypted-"
    ):
        check(experiment, DATA)
    with pytest.raises(ConfigError, match="did you mean link"):
        parse(table | {"measure": {"vantage": "linc"}})
    with pytest.raises(ConfigError, match="black-box access at least; query-free is stated"):
        adversary.check_granted((), Access.QUERY_FREE, VANTAGES["client"])


def test_several_servers_get_one_release_each():
    averaging = {"name": "averaging", "n_releases": 4}
    table = {"data": "digits", "model": "resnet20", "cut": "layer1", "attack": [averaging]}
    (experiment,) = parse(table | {"measure": {"vantage": "servers", "servers": 3}})
    with pytest.raises(WithheldError, match="needs 4 releases of one input, and 3 servers get one each"):
        check(experiment, DATA)
    for measure in ({"vantage": "servers"}, {"servers": 2}):
        with pytest.raises(ConfigError, match="is that of 2 servers or more"):
            parse(table | {"measure": measure})


def test_an_attack_that_wants_more_releases_than_were_observed_fails(tmp_path):
    floor = (Named("mean-image"), ATTACKS.make("mean-image"))
    averaging = (Named("averaging"), ATTACKS.make("averaging", n_releases=4))
    _, (entry,) = attacked(tmp_path, averaging, floor)
    assert entry.reason == "It wants 4 releases of each input, and 1 were observed."


def test_on_the_link_nobody_holds_the_tail():
    seen = replace(view_for(None, Odd()), vantage=VANTAGES["link"])
    with pytest.raises(WithheldError, match="withholds the tail from the attacker: it sits at the vantage link"):
        _ = seen.tail


def test_the_default_access_leaves_the_id_alone():
    table = {"data": "digits", "model": "resnet20", "cut": "layer1"}
    (plain,), (stated,), (less,) = (
        parse(table | {"measure": measure}) for measure in ({}, {"access": "white-box"}, {"access": "black-box"})
    )
    assert plain.id == stated.id != less.id


def test_a_watch_list_of_the_plan_takes_the_place_of_the_one_that_sees_and_knows_as_much():
    defense = DEFENSES.make("gaussian-noise", sigma=1.0)
    asked = adversary.attacks([Named("watch-list", {"n_queries": 2}), Named("averaging", {"n_releases": 4})], defense)
    added = [named.options for named, _ in adversary.watch_lists(asked, defense, Access.BLACK_BOX, CLOUD)]
    # The others make as many queries: each may take long.
    assert added == [{"n_queries": 2, "n_releases": 4}]
    # One that knows the law of the noise knows more, and is played as well.
    added = [named.options for named, _ in adversary.watch_lists(asked, defense, Access.WHITE_BOX, CLOUD)]
    assert added == [{"n_queries": 2, "likelihood": True}, {"n_queries": 2, "n_releases": 4, "likelihood": True}]
