"""What every attack on tables promises, over the whole registry, and the brackets that none may leave."""

from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import Access, View
from cutlayer.data.modality import TABLE
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.errors import ConfigError, WithheldError
from cutlayer.metrics.columns import right_columns
from cutlayer.metrics.identification import ranks, shares
from cutlayer.metrics.nearness import error_of
from cutlayer.registry import ATTACKS
from tests.attacks.tables.victims import COLUMNS, MODALITY, PRIVATE, WIDTH, constant_head, mixing_head, view_of


class Row(NamedTuple):
    """One attack at options at which it is quick.

    Attributes:
        reads: The least share of columns that it reads behind an invertible head without a defense; the floor reads
            half of them.
    """

    name: str
    options: dict[str, Any]
    reads: float = 0.0

    def make(self) -> Attack:
        return ATTACKS.make(self.name, **self.options)

    def view(self, *victim, **options) -> View:
        return view_of(*victim, sees=self.make().sees, **options)


QUICK = {"iterations": 40, "restarts": 2, "rehearsal": 16, "weight": (0.0, 0.01)}
ROWS = [
    Row("marginal", {}),
    Row("mean-image", {}),
    Row("nearest", {}, 0.65),
    Row("ridge", {}, 0.99),
    Row("pca-ridge", {"components": 48}, 0.99),
    Row("denoise-first", {"attack": "ridge", "epochs": 2}, 0.99),
    Row("averaging", {"n_releases": 3}, 0.99),
    Row("averaging", {"attack": "table-decoder", "n_releases": 2, "options": {"epochs": 2}}, 0.99),
    Row("ensemble", {"attacks": ({"name": "ridge"}, {"name": "nearest"})}, 0.99),
    Row("mask-aware", {"attack": "ridge", "see": "values"}, 0.65),
    Row("traffic", {}),
    Row("table-decoder", {"epochs": 2, "width": 32}, 0.99),
    Row("table-search", {"attack": "ridge", **QUICK}, 0.99),
    Row("table-search", {"attack": "marginal", **QUICK, "lr": 0.3}, 0.9),
    Row("watch-list", {}),
    Row("watch-list", {"n_releases": 2, "n_queries": 3}),
]
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row.make()))
each_that_reads = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.make().reconstructs], ids=lambda row: repr(row.make())
)


def read(row: Row, view: View) -> torch.Tensor:
    """The share of the columns of the private rows that the attack reads."""
    attack = row.make()
    attack.fit(view)
    rows = attack.invert_releases(torch.stack([view.query(PRIVATE)] * attack.n_releases))
    return right_columns(rows, PRIVATE, COLUMNS).float().mean()


def test_every_registered_attack_on_tables_has_a_row():
    assert {name for name in ATTACKS if "table" in ATTACKS.load(name).rebuilds} == {row.name for row in ROWS}


@each_that_reads
@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("n", [1, 5])
def test_gives_one_row_for_each_input(row, sigma, n):
    view, attack = row.view(mixing_head(), GaussianNoise(sigma=sigma)), row.make()
    options = repr(attack)
    attack.fit(view)
    assert repr(attack) == options, "fit() changed an option"
    releases = torch.stack([view.query(PRIVATE[:n]) for _ in range(attack.n_releases)])
    recorded = releases.clone()
    for rows in (attack.invert_releases(releases), attack.invert(releases[0])):
        assert rows.shape == (n, WIDTH)
        assert rows.dtype == torch.float32
        assert not rows.requires_grad
        assert rows.min() >= 0
        assert rows.max() <= 1
    assert torch.equal(releases, recorded), "what the tap recorded was changed in place"


@each_that_reads
def test_reads_an_invertible_head(row):
    assert read(row, row.view(mixing_head())) >= row.reads


@each_that_reads
def test_reads_nothing_behind_a_constant_head(row):
    view = row.view(constant_head())
    usual = torch.from_numpy(MODALITY.floor(view.auxiliary.inputs)).expand_as(PRIVATE)
    assert read(row, view) <= 1 - error_of(MODALITY)(usual, PRIVATE).mean() + 0.05


@each
def test_names_the_row_that_was_sent(row):
    view, attack = row.view(mixing_head(), GaussianNoise(sigma=0.02)), row.make()
    attack.fit(view)
    scores = attack.identify(torch.stack([view.query(PRIVATE) for _ in range(attack.n_releases)]), PRIVATE)
    assert scores.shape == (len(PRIVATE), len(PRIVATE))
    assert scores.isfinite().all()
    found = shares(*ranks(scores, torch.eye(len(PRIVATE), dtype=torch.bool)), 1).mean()
    assert found > 0.8 if row.reads > 0.9 or row.name == "watch-list" else found >= 0


@each
def test_one_seed_one_result(row):
    def result() -> torch.Tensor:
        view, attack = row.view(mixing_head(), GaussianNoise(sigma=0.1)), row.make()
        attack.fit(view)
        return attack.identify(torch.stack([view.query(PRIVATE) for _ in range(attack.n_releases)]), PRIVATE)

    before = torch.random.get_rng_state()
    torch.testing.assert_close(result(), result(), rtol=0, atol=1e-5)
    assert torch.equal(torch.random.get_rng_state(), before), "global randomness was touched"


@each
@pytest.mark.parametrize("access", Access)
def test_reaches_for_nothing_that_is_withheld(row, access):
    view, attack = row.view(mixing_head(), access=access), row.make()
    if access < attack.needs:
        with pytest.raises(WithheldError):
            attack.fit(view)
    else:
        attack.fit(view)


@pytest.mark.parametrize("name", ["marginal", "table-decoder", "table-search"])
def test_without_columns_there_is_nothing_to_read(name):
    view = view_of(mixing_head())
    bare = view.with_auxiliary(replace(view.auxiliary, modality=TABLE))
    with pytest.raises(ConfigError, match="does not say what its columns are"):
        ATTACKS.make(name).fit(bare)
