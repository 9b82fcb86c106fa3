"""What every defense promises, checked over the whole registry."""

import functools
import json
import math
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch.nn import functional

from cutlayer import training
from cutlayer.data.modality import TABLE
from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.base import Defense, check_kind, deployed
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.edge.pipeline import Pipeline
from cutlayer.errors import ConfigError
from cutlayer.models import folder, zoo
from cutlayer.models.halves import SplitModel, copied, split
from cutlayer.nets import decoders
from cutlayer.registry import DEFENSES
from cutlayer.spec import image_spec
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs.packed import codec_named
from tests.defenses.victims import rng

ROOT = Path(__file__).parents[2]
IMAGE, CLASSES = image_spec(1, 16, 16), 3


class Row(NamedTuple):
    """One defense at options at which it is quick.

    Attributes:
        off: Options that, beside the knob at 0, make it the undefended model.
        light: Whether the device runs it without torch.
        model: Name of the victim's model in `cutlayer.registry.MODELS`.
        cut: Where the victim's model is cut.
    """

    name: str
    options: dict[str, Any] = {}  # noqa: RUF012
    off: dict[str, Any] = {}  # noqa: RUF012
    light: bool = True
    model: str = "he_lenet"
    cut: str = "ReLU1"

    def __hash__(self) -> int:
        """Return the hash of the representation, because dicts have no hash."""
        return hash(repr(self))

    def make(self) -> Defense:
        return DEFENSES.make(self.name, **self.options)

    def make_off(self) -> Defense:
        knob = DEFENSES.load(self.name).knob
        kind = DEFENSES.options(self.name)[knob].annotation if knob else None
        zero = {knob: 0 if getattr(kind, "__origin__", kind) is int else 0.0} if knob else {}
        return DEFENSES.make(self.name, **{**self.options, **zero, **self.off})


PRIOR = {"latent": 4, "width": 2, "prior_steps": 4}
"""Options of a generative prior that is quick to train, and useless."""

ROWS = [
    Row("none"),
    Row("none", {"epochs": 1}, off={"epochs": 0}),
    Row("gaussian-noise", {"sigma": 0.5}),
    Row("gaussian-noise", {"sigma": 0.3, "bound": "clip", "noise_aware_epochs": 1}),
    Row("laplace-noise", {"scale": 0.5, "noise_aware_epochs": 1}),
    Row("local-dp", {"noise": 0.1, "epochs": 1}),
    Row("local-dp", {"noise": 0.1, "mechanism": "laplace", "clip": 3.0, "epochs": 0}),
    Row("dropout", {"rate": 0.4, "epochs": 1}),
    Row("top-k", {"sparsity": 0.8, "epochs": 1}),
    Row("quantize", {"bits": 2, "epochs": 1}),
    Row("quantize", {"bits": 1, "rounding": "stochastic"}),
    Row("shredder", {"scale": 0.5, "n_noises": 3, "epochs": 1}),
    Row("ressfl", {"bottleneck": "C4S2", "decoder": "conv_normN0C16", "epochs": 1}, off={"bottleneck": ""}),
    Row("patrol", {"deeper": "ReLU2", "epochs": 1}, off={"lipschitz": 0.0, "deeper": ""}),
    Row("adversarial", {"decoder": "conv_normN0C16", "epochs": 1}),
    Row("nopeek", {"weight": 2.0, "epochs": 1}),
    Row("bido", {"epochs": 1}, off={"weight_y": 0.0}),
    Row("cem", {"epochs": 1}, off={"sigma": 0.0}),
    Row("mid", {"epochs": 1}),
    Row("certified-noise", {"epochs": 1, "width": 8}),
    Row("certified-noise", {"epochs": 1, "head_lr_scale": 0.1, "codewords": 2, "memo": True}),
    Row("crafter", {"iterations": 2, "terms": 2, "n_critic": 1, **PRIOR}, light=False),
    Row("crafter-z", {"iterations": 2, "n_critic": 1, **PRIOR}, light=False),
    Row("crafter-distilled", {"iterations": 2, "n_crafted": 8, "channels": 4, "epochs": 1, **PRIOR}, light=False),
]
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row.make()))

of_rows = pytest.mark.parametrize(
    "row", [row for row in ROWS if "table" in DEFENSES.load(row.name).kinds], ids=lambda row: repr(row.make())
)

IMPOSSIBLE = {
    "gaussian-noise": {"sigma": [-0.1, math.nan, math.inf], "noise_aware_epochs": [-1], "bound": ["relu"]},
    "laplace-noise": {"scale": [-0.1, math.nan, math.inf], "noise_aware_epochs": [-1]},
    "local-dp": {"noise": [-1.0], "mechanism": ["cauchy"], "clip": [0.0], "delta": [0.0], "epochs": [-1]},
    "dropout": {"rate": [1.1], "epochs": [-1]},
    "top-k": {"sparsity": [1.0, -0.1]},
    "quantize": {"bits": [17, -1], "rounding": ["up"]},
    "shredder": {"scale": [-1.0], "n_noises": [0], "lr": [0.0], "epochs": [-1], "weight": [-1.0]},
    "ressfl": {"weight": [-0.1], "epochs": [-1], "steps": [0], "every": [0], "lr": [0.0], "head_lr_scale": [0.0]},
    "patrol": {"adversary": [-1.0], "lr": [0.0]},
    "adversarial": {"weight": [-1.0], "epochs": [-1], "lr": [0.0], "turns": ["hours"]},
    "nopeek": {"weight": [-1.0], "epochs": [-1], "batch": [1]},
    "bido": {"weight_x": [-1.0], "weight_y": [-1.0], "layers": ["last"], "batch": [1]},
    "cem": {"weight": [-1.0], "sigma": [-0.1], "clusters": [0], "bound": ["wall"]},
    "mid": {"beta": [-1.0], "epochs": [-1]},
    "certified-noise": {"sigma": [-1.0], "numbers": [0], "spread": [-1.0], "width": [0], "lr": [0.0], "batch": [0]},
    **{name: {"privacy": [-1.0], "public": ["private"]} for name in ("crafter", "crafter-z", "crafter-distilled")},
}
"""Values that the options of each defense refuse."""


class Hardened(NamedTuple):
    victim: SplitModel
    defense: Defense
    split: SplitModel


@functools.cache
def data() -> Splits:
    """Smooth images of three shades."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(96) % CLASSES
    coarse = torch.rand(96, 1, 4, 4, generator=generator) * 0.5 + labels[:, None, None, None] * 0.2
    images = functional.interpolate(coarse, IMAGE.shape[1:], mode="bilinear").contiguous().numpy()
    part = Dataset(images, labels.numpy())
    return Splits("made", ("dark", "gray", "bright"), part, part, part, part)


@functools.cache
def victim(model: str, cut: str) -> SplitModel:
    return split(zoo.build(model, IMAGE, CLASSES, seed=3), cut, IMAGE)


@functools.cache
def hardened(row: Row) -> Hardened:
    """Hardened once for all tests, which leave it as it is."""
    defense, halves = row.make(), victim(row.model, row.cut)
    return Hardened(halves, defense, defense.harden(halves, data(), seed=0))


@functools.cache
def clean(row: Row, n: int = 5) -> np.ndarray:
    with torch.no_grad():
        return hardened(row).split.head(torch.from_numpy(data().test.inputs[:n])).numpy()


def assert_same_weights(first: SplitModel, second: SplitModel) -> None:
    for a, b in ((first.head, second.head), (first.tail, second.tail)):
        assert a.state_dict().keys() == b.state_dict().keys()
        assert all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_every_registered_defense_has_a_row():
    others = {name for name in DEFENSES if "image" not in DEFENSES.load(name).kinds}  # tests/defenses/test_tokens.py
    missing = sorted(set(DEFENSES) - {row.name for row in ROWS} - others)
    assert not missing, f"Add a row for {', '.join(missing)} to ROWS in {Path(__file__).relative_to(ROOT)}."
    assert all(is_dataclass(DEFENSES.load(name)) for name in DEFENSES)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [(name, option, v) for name, options in IMPOSSIBLE.items() for option, values in options.items() for v in values],
)
def test_an_impossible_option_is_refused(name, option, value):
    options = next(row.options for row in ROWS if row.name == name)
    with pytest.raises(ConfigError, match=r"must be|is frozen"):
        DEFENSES.make(name, **{**options, option: value})


@each
def test_decoders_are_named_where_the_defense_is_on(row):
    assert row.make_off().decoders == ()
    for name in row.make().decoders:
        decoders.parse(name)


@each
def test_strength_zero_is_the_undefended_model_bit_for_bit(row):
    defense, halves = row.make_off(), victim(row.model, row.cut)
    assert (row.name == "none") == (defense.knob == "")
    assert defense.surgery(halves) is halves
    assert defense.harden(halves, data(), seed=0) is halves
    assert not defense.random
    assert defense.learned == {}
    for smashed in (clean(ROWS[0]), torch.from_numpy(clean(ROWS[0]))):
        assert defense.protect(smashed, rng()) is smashed


@each
def test_further_epochs_are_the_passes_that_train_the_model(row, monkeypatch):
    halves, passes = victim(row.model, row.cut), []

    def count(modules, data_, loss, *, epochs, **_):
        names = [name for module in modules for name, _ in module.named_parameters()]
        # The output of a frozen head may stand in place of the inputs.
        if data_.labels is data().train.labels and any("fc3" in name for name in names):
            passes.append(epochs)

    monkeypatch.setattr(training, "optimize", count)
    row.make().harden(halves, data(), seed=0)
    assert row.make().further_epochs == sum(passes)
    assert row.make_off().further_epochs == 0


@each
def test_hardening_leaves_the_victim_and_the_global_randomness_alone(row):
    halves = copied(victim(row.model, row.cut))
    before, state = copied(halves), torch.random.get_rng_state()
    defenses = row.make(), row.make()
    first, second = (defense.harden(halves, data(), seed=0) for defense in defenses)
    assert repr(defenses[0]) == repr(row.make()), "harden() changed an option"
    assert_same_weights(halves, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_same_weights(first, second)
    assert all(p.grad is None for half in (halves.head, halves.tail) for p in half.parameters())
    for half in (halves.head, halves.tail, first.head, first.tail):
        assert not any(module.training for module in half.modules())
        assert all(value.device.type == "cpu" for value in half.state_dict().values())


@each
@pytest.mark.parametrize("n", [1, 5])
def test_what_is_released_is_finite_and_as_announced_and_the_tail_takes_it(row, n):
    _, defense, halves = hardened(row)
    for smashed in (clean(row, n), torch.from_numpy(clean(row, n))):
        before = smashed.copy() if isinstance(smashed, np.ndarray) else smashed.clone()
        released = defense.protect(smashed, rng())
        assert type(released) is type(smashed)
        assert tuple(released.shape) == (n, *halves.smashed.shape)
        assert released.dtype == smashed.dtype
        assert (before == smashed).all(), "the head's output was changed in place"
        logits = halves.tail(torch.as_tensor(released)).detach()
        assert logits.shape == (n, CLASSES)
        assert torch.isfinite(logits).all()


@each
def test_all_randomness_comes_from_the_generator_and_is_declared(row):
    defense, smashed = hardened(row).defense, clean(row)
    first, again, other = (defense.protect(smashed, rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) != defense.random


@each
def test_the_attackers_copy_does_what_the_device_does(row):
    defense, smashed = hardened(row).defense, clean(row)
    if not defense.random or defense.slow:
        on_device = defense.protect(smashed, rng())
        at_attacker = defense.protect(torch.from_numpy(smashed), rng())
        np.testing.assert_allclose(on_device, at_attacker.detach().numpy(), rtol=1e-4, atol=1e-5)
        return
    # In torch a random defense draws other numbers of the same law: of each value, and of all values of one input.
    draws, inputs = rng(), torch.from_numpy(smashed)
    on_device = np.stack([defense.protect(smashed, draws) for _ in range(200)])
    at_attacker = np.stack([defense.protect(inputs, draws).detach().numpy() for _ in range(200)])
    direction = rng(1).standard_normal(on_device[0, 0].size)
    for law in (lambda sent: sent[:8].ravel(), lambda sent: sent[:, 0].reshape(len(sent), -1) @ direction):
        # Rounded, because values of a few levels differ in the last digit.
        assert ks_2samp(*(law(sent).round(4) for sent in (on_device, at_attacker))).pvalue > 1e-3
    assert not np.array_equal(at_attacker[0], at_attacker[1])
    first, again = (defense.protect(inputs, rng()) for _ in range(2))
    assert torch.equal(first, again)


@each
def test_the_attackers_gradients_are_finite(row):
    smashed = torch.from_numpy(clean(row)).requires_grad_()
    released = hardened(row).defense.protect(smashed, rng())
    if released.requires_grad:
        (gradient,) = torch.autograd.grad(released.square().sum(), smashed)
        assert torch.isfinite(gradient).all()


@each
def test_a_sample_is_protected_alike_in_any_batch(row):
    defense, smashed = hardened(row).defense, clean(row)
    if not defense.random:
        apart = [defense.protect(smashed[i : i + 1], rng()) for i in range(len(smashed))]
        assert np.array_equal(defense.protect(smashed, rng()), np.concatenate(apart))


@each
def test_composes_with_noise_and_codecs(row):
    _, defense, halves = hardened(row)
    noisy = defense.then(GaussianNoise(sigma=0.1))
    assert noisy.random

    def head(images):
        with torch.no_grad():
            return halves.head(torch.from_numpy(images)).numpy()

    images = data().test.inputs[:2]
    arrived, coarse = (Pipeline(head, noisy, codec_named(name)).wire(images, rng()) for name in ("raw", "int8+zstd"))
    assert np.array_equal(arrived, noisy.protect(head(images), rng()))
    assert coarse.shape == arrived.shape == (2, *halves.smashed.shape)
    assert np.isfinite(coarse).all()


@each
def test_facts_are_finite_numbers_or_words(row):
    facts = hardened(row).defense.facts(clean(row))
    assert all(isinstance(v, str) or math.isfinite(v) for v in facts.values()), facts
    json.dumps(facts)


@each
def test_a_split_folder_brings_back_what_was_hardened(row, tmp_path):
    halves, defense, split_ = hardened(row)
    if defense.surgery(halves) is halves and row.light:
        # The same layers as undefended, whose folders have tests of their own; an export takes seconds.
        for half, other in ((halves.head, split_.head), (halves.tail, split_.tail)):
            assert [(k, v.shape) for k, v in half.state_dict().items()] == [
                (k, v.shape) for k, v in other.state_dict().items()
            ]
        again = row.make()
        again.deploy(defense.learned, tmp_path)
    else:
        described = {"name": row.name, **row.options}
        about = {"model": row.model, "classes": CLASSES, "data": None, "learned": defense.learned}
        folder.save(tmp_path / "split", split_, defense=described, **about)
        loaded = open_split(tmp_path / "split").halves()
        assert_same_weights(loaded, split_)
        assert loaded.smashed == split_.smashed
        again = deployed(open_split(tmp_path / "split"))
        given = open_split(tmp_path / "split").head()(data().test.inputs[:5])
        np.testing.assert_allclose(given, clean(row), rtol=1e-3, atol=1e-4)
    assert np.array_equal(again.protect(clean(row), rng()), defense.protect(clean(row), rng()))


def test_the_device_needs_no_torch_for_the_light_ones(tmp_path):
    light = [row for row in ROWS if row.light]
    arrays = {f"{i}.learned.{k}": v for i, row in enumerate(light) for k, v in hardened(row).defense.learned.items()}
    np.savez(tmp_path / "given.npz", **arrays, **{f"{i}.smashed": clean(row) for i, row in enumerate(light)})
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import json, numpy as np\n"
        "from pathlib import Path\n"
        "from cutlayer.registry import DEFENSES\n"
        "given = dict(np.load(sys.argv[1] + '/given.npz'))\n"
        "for i, (name, options) in enumerate(json.loads(sys.argv[2])):\n"
        "    defense, start = DEFENSES.make(name, **options), f'{i}.learned.'\n"
        "    learned = {k.removeprefix(start): v for k, v in given.items() if k.startswith(start)}\n"
        "    defense.deploy(learned, Path(sys.argv[1]))\n"
        "    given[f'{i}.released'] = defense.protect(given[f'{i}.smashed'], np.random.default_rng(0))\n"
        "np.savez(sys.argv[1] + '/released.npz', **{k: v for k, v in given.items() if 'released' in k})\n"
    )
    described = json.dumps([(row.name, row.options) for row in light])
    subprocess.run([sys.executable, "-c", code, str(tmp_path), described], check=True, timeout=60)
    with np.load(tmp_path / "released.npz") as released:
        for i, row in enumerate(light):
            assert np.array_equal(released[f"{i}.released"], hardened(row).defense.protect(clean(row), rng())), row


@of_rows
def test_what_takes_rows_of_a_table_protects_them(row):
    spec, labels = TABLE.spec(9), np.arange(48) % CLASSES
    rows = (np.random.default_rng(0).random((48, 9)) * 0.5 + labels[:, None] * 0.2).astype(np.float32)
    part = Dataset(rows, labels, TABLE)
    defense, undefended = row.make(), split(zoo.build("mlp", spec, CLASSES, seed=3), "relu1", spec)
    hardened = defense.harden(undefended, Splits("made", ("a", "b", "c"), part, part, part, part), 0)
    with torch.no_grad():
        sent = defense.protect(hardened.head(torch.from_numpy(rows)).numpy(), rng(0))
        answers = hardened.tail(torch.from_numpy(sent))
    assert sent.shape == (48, *hardened.smashed.shape)
    assert np.isfinite(sent).all()
    assert answers.shape == (48, CLASSES)


@pytest.mark.parametrize("name", sorted(name for name in DEFENSES if "table" not in DEFENSES.load(name).kinds))
def test_what_cannot_protect_rows_says_why_before_anything_is_trained(name):
    with pytest.raises(
        ConfigError, match=rf"does not protect rows: {DEFENSES.load(name).why_only}. Choose from none, "
    ):
        check_kind(DEFENSES.make(name), TABLE)
