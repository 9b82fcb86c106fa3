"""The README's table of recipes, followed for a toy of each kind in a copy of the tree."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("attacks", "benchmarks", "cloud", "cutlayer", "defenses", "edge", "experiments", "proto", "tests")


class Toy(NamedTuple):
    """One kind of thing: how `cutlayer list` calls the kind, the file's content, what to register, and its row."""

    kind: str
    code: str
    name: str
    row: str


TOYS = {
    "an attack": Toy(
        "attacks",
        '''
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import Access, View


@dataclass(kw_only=True)
class Gray(Attack):
    """Answer with gray."""

    needs: ClassVar[Access] = Access.QUERY_FREE
    plain_words: ClassVar[str] = "always answers with a gray picture, whatever arrives"

    def fit(self, view: View) -> None:
        self._shape = view.input.shape

    def invert(self, smashed: Tensor) -> Tensor:
        return torch.full((len(smashed), *self._shape), 0.5)
''',
        "Gray",
        'Row("toy", {})',
    ),
    "a defense": Toy(
        "defenses",
        '''
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cutlayer.defenses.base import Defense


@dataclass(kw_only=True)
class Halve(Defense):
    """Send a part of each value.

    Args:
        taken: Part of each value that is not sent.
    """

    knob: ClassVar[str] = "taken"
    taken: float = 0.5

    def protect(self, smashed: Any, rng: np.random.Generator) -> Any:
        return smashed * (1 - self.taken) if self.taken else smashed
''',
        "Halve",
        'Row("toy", {"taken": 0.25})',
    ),
    "a label attack": Toy(
        "label-attacks",
        '''
from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.training.base import LabelAttack, LabelView


@dataclass(kw_only=True)
class Longest(LabelAttack):
    """Take long gradients for those of class 1."""

    plain_words = "takes long gradients for those of class 1"
    decides = False

    def infer(self, view: LabelView) -> Tensor:
        length = view.rows.square().sum(1)
        return torch.stack([-length, length], 1)
''',
        "Longest",
        'Row("toy", {}, classes=(2,))',
    ),
    "a gradient defense": Toy(
        "gradient-defenses",
        '''
from dataclasses import dataclass
from typing import Any

import numpy as np

from cutlayer.defenses.gradients.base import GradientDefense
from cutlayer.defenses.shared.draws import normal


@dataclass(kw_only=True)
class Shake(GradientDefense):
    """Multiply each number of a gradient by a random one.

    Args:
        spread: Its deviation from 1.
    """

    knob = "spread"
    plain_words = "multiplies each number of a gradient by a random one"
    spread: float = 0.5

    def protect_rows(self, rows: Any, labels: Any, rng: np.random.Generator) -> Any:
        return rows * (1 + self.spread * normal(rows, rng))
''',
        "Shake",
        'Row("toy", {"spread": 0.25})',
    ),
    "an update attack": Toy(
        "update-attacks",
        '''
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cutlayer.attacks.gradients.base import Recovered, UpdateAttack
from cutlayer.attacks.gradients.view import Observation, UpdateView


@dataclass(kw_only=True)
class Gray(UpdateAttack):
    """Answer with gray."""

    plain_words = "always answers with a gray picture, whatever arrives"

    def invert(self, view: UpdateView, observations: Sequence[Observation]) -> list[Recovered]:
        return [Recovered(torch.full((o.samples, *view.input.shape), 0.5)) for o in observations]
''',
        "Gray",
        'Row("toy", {})',
    ),
    "an update defense": Toy(
        "update-defenses",
        '''
from dataclasses import dataclass

from cutlayer.defenses.updates.base import UpdateDefense


@dataclass(kw_only=True)
class Halve(UpdateDefense):
    """Send a part of each number.

    Args:
        taken: Part of each number that is not sent.
    """

    knob = "taken"
    plain_words = "makes each number smaller"
    taken: float = 0.5

    def protect(self, update, rng, state, local):
        return {name: value * (1 - self.taken) for name, value in update.items()}

    def twin(self, sent, rng):
        return lambda update: {name: value * (1 - self.taken) for name, value in update.items()}
''',
        "Halve",
        'Row("toy", {"taken": 0.25}, twin="equal")',
    ),
    "a class attack": Toy(
        "class-attacks",
        '''
from dataclasses import dataclass

import torch
from torch import Tensor

from cutlayer.attacks.answers.base import ClassAttack
from cutlayer.attacks.answers.view import ClassView, Reply


@dataclass(kw_only=True)
class Gray(ClassAttack):
    """Answer with gray."""

    plain_words = "always answers with a gray picture, whatever the class"
    needs = Reply.LABEL
    is_floor = True

    def represent(self, view: ClassView, k: int) -> Tensor:
        return torch.full((len(view.targets), k, *view.input.shape), 0.5)
''',
        "Gray",
        'Row("toy", {}, asks=False)',
    ),
    "an answer defense": Toy(
        "answer-defenses",
        '''
from dataclasses import dataclass

from cutlayer.defenses.answers.base import AnswerDefense


@dataclass(kw_only=True)
class Halve(AnswerDefense):
    """Tell log-probabilities that lie closer together.

    Args:
        taken: Part of each that is taken away.
    """

    knob = "taken"
    plain_words = "tells log-probabilities that lie closer together"
    taken: float = 0.5

    def answer(self, scores, rng):
        return scores if not self.taken else scores * (1 - self.taken)
''',
        "Halve",
        'Row("toy", {"taken": 0.25})',
    ),
    "a detector": Toy(
        "detectors",
        '''
from dataclasses import dataclass

from cutlayer.defenses.detectors.base import Detector, Watched


@dataclass(kw_only=True)
class Long(Detector):
    """Suspect long gradients."""

    plain_words = "suspects long gradients"

    def watch(self, step: Watched) -> float | None:
        return float(step.gradient.norm())
''',
        "Long",
        '"toy"',
    ),
    "a data set": Toy(
        "datasets",
        '''
from pathlib import Path

import numpy as np

from cutlayer.data.parts import from_one
from cutlayer.data.splits import Dataset, Splits


def load(root: Path | None, seed: int) -> Splits:
    """Noise that is bright or dark: 80 train, 40 auxiliary, 20 private, 20 test."""
    labels = np.arange(160, dtype=np.int64) % 2
    images = np.random.default_rng(0).random((160, 1, 16, 16), np.float32) / 2 + labels[:, None, None, None] / 2
    return from_one("toy", ("dark", "bright"), Dataset(images.astype(np.float32), labels), seed)
''',
        "load",
        '"toy": Row("numpy", (80, 40, 20, 20)),',
    ),
    "a model": Toy(
        "models",
        '''
from torch import nn

from cutlayer.spec import TensorSpec, image_spec


def toy(input: TensorSpec = image_spec(1, 16, 16), classes: int = 2) -> nn.Module:
    """A chain of small convolutions."""
    channels, height, width = input.shape
    layers = [layer for _ in range(5) for layer in (nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())]
    first = nn.Conv2d(channels, 4, 3, padding=1)
    return nn.Sequential(first, *layers, nn.Flatten(), nn.Linear(4 * height * width, classes))
''',
        "toy",
        '"toy": Row(image_spec(1, 16, 16), "2", "8"),',
    ),
    "a codec": Toy(
        "codecs",
        '''
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.wire.codecs.base import Codec, Encoded, as_array, as_bytes, count_elements


class Negative(Codec):
    """Float32 with its sign changed on the wire."""

    name = "toy"

    def encode(self, array: NDArray[Any]) -> Encoded:
        datatype, data = as_bytes(-np.ascontiguousarray(array, np.float32))
        return Encoded(datatype, array.shape, data, {"codec": self.name})

    def decode(self, encoded: Encoded) -> NDArray[Any]:
        return -as_array(encoded, "FP32")

    def most_bytes(self, encoded: Encoded) -> int:
        return 4 * count_elements(encoded, ("FP32",))
''',
        "Negative",
        '"toy": Row(),',
    ),
    "a metric": Toy(
        "metrics",
        """
from torch import Tensor

from cutlayer.metrics.base import Metric


def farthest(reconstructions: Tensor, originals: Tensor, candidates: Tensor) -> Tensor:
    return (reconstructions - originals).abs().flatten(1).amax(1)


FARTHEST = Metric("Farthest pixel", "the error of the worst pixel.", "low", farthest)
""",
        "FARTHEST",
        '"toy": Row(0.0, 0.1),',
    ),
    "an engine": Toy(
        "engines",
        '''
from dataclasses import dataclass

from cutlayer.experiment.engines.local import Local


@dataclass(kw_only=True)
class Alone(Local):
    """One process on this machine."""

    def places(self) -> int:
        return 1
''',
        "Alone",
        'Row("toy", {}),',
    ),
    "a transport": Toy(
        "transports",
        """
from dataclasses import replace

from cutlayer.wire.zmq.scheme import ZMQ

TOY = replace(ZMQ, explanation="ZeroMQ under another name.")
""",
        "TOY",
        '"toy": "toy://127.0.0.1:0",',
    ),
}
HOSTILE = "tests/wire/codecs/test_codecs_hostile.py"
RECIPE = re.compile(r"^\| (an? [a-z ]+) \| `([\w/]+)/NAME\.py`.*\| `([A-Z_]+)` \| `([A-Z]+)` in `([\w/.]+)` \|$", re.M)
RECIPES = {kind: rest for kind, *rest in RECIPE.findall((ROOT / "README.md").read_text())}


def insert(path: Path, after: str, line: str) -> None:
    """Add a line behind the one that begins with this text."""
    text = path.read_text()
    assert text.count(f"\n{after}") == 1, f"{path} has no line that begins with {after!r}"
    end = text.index("\n", text.index(f"\n{after}") + 1)
    path.write_text(f"{text[:end]}\n    {line}{text[end:]}")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tree to which every toy was added as the README says."""
    copy = tmp_path_factory.mktemp("tree")
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    table_of_names = copy / "cutlayer/registry.py"
    for kind, (folder, table, rows, test) in RECIPES.items():
        toy = TOYS[kind]
        (copy / folder / "toy.py").write_text('"""A toy."""\n' + toy.code)
        package = folder.replace("/", ".") if folder.startswith("cutlayer/") else f"cutlayer.{folder.replace('/', '.')}"
        target = f'"toy": "{package}.toy:{toy.name}",'
        text = table_of_names.read_text()
        place = text.index("{\n", text.index(f"\n{table} = ")) + 2
        table_of_names.write_text(f"{text[:place]}        {target}\n{text[place:]}")
        row = toy.row if toy.row.endswith(",") else f"{toy.row},"
        insert(copy / test, f"{rows} = ", row)
    return copy


def python(tree, *words, timeout=240):
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_table_has_every_kind():
    from cutlayer import registry

    tables = {name for name, value in vars(registry).items() if isinstance(value, registry.Registry)}
    assert {table for _, table, _, _ in RECIPES.values()} == tables
    assert RECIPES.keys() == TOYS.keys()


LIST = """
import sys
from cutlayer.cli import app

for kind in sys.argv[1:]:
    print("of", kind)
    app().cli(args=["list", kind])
"""


@pytest.fixture(scope="module")
def listed(tree):
    """The lines of each list of names, by its kind."""
    (tree / "list_all.py").write_text(LIST)
    lists, lines = {}, []
    for line in python(tree, "list_all", *(toy.kind for toy in TOYS.values())).splitlines():
        first, _, kind = line.partition(" ")
        if first == "of":
            lines = lists[kind] = []
        else:
            lines.append(line)
    return lists


@pytest.mark.parametrize("kind", TOYS)
def test_the_toy_is_listed(listed, kind):
    lines = listed[TOYS[kind].kind]
    assert [line for line in lines if line.startswith("toy ")], lines


@pytest.fixture(scope="module")
def passed(tree):
    """The number of toy tests that passed, by the file of contract tests or of hostile codecs."""
    files = [test for *_, test in RECIPES.values()] + [HOSTILE]
    names = " or ".join(["toy", *(toy.name for toy in TOYS.values() if toy.name[0].isupper())])
    printed = python(tree, "pytest", "-q", "-rfp", "-p", "no:cacheprovider", *files, "-k", names)
    return Counter(re.findall(r"^PASSED ([\w/.]+)::", printed, re.M))


@pytest.mark.parametrize("kind", TOYS)
def test_the_contract_tests_take_the_toy(passed, kind):
    *_, test = RECIPES[kind]
    assert passed[test] >= 1


def test_the_toy_codec_is_attacked(passed):
    assert passed[HOSTILE] >= 3


PLAN = """
name = "toys"
data = "toy"
model = "toy"
cut = "4"

[training]
epochs = 1

[measure]
count = 10
private = 5
warmup = 1
codec = "toy+zstd"
metrics = ["toy"]

[[defense]]
name = "toy"

[[deployment]]
transport = "toy"

[[attack]]
name = "toy"
[[attack]]
name = "mean-image"
"""


def test_a_run_of_toys_is_in_the_records_and_on_the_page(tree):
    (tree / "toys.toml").write_text(PLAN)
    printed = python(tree, "cutlayer.cli", "run", "toys.toml", "--out", "runs")
    assert "toy" in printed
    (record,) = [json.loads(path.read_text()) for path in tree.glob("runs/*/result.json")]
    attacks = {row["attack"]: row for row in record["privacy"]}
    assert attacks.keys() == {"toy", "mean-image"}
    assert 0 < attacks["toy"]["metrics"]["toy"]["value"] <= 0.5
    assert record["cost"][0]["transport"] == "toy"
    python(tree, "cutlayer.cli", "report", "runs")
    page = (tree / "runs/report.html").read_text()
    for words in ("always answers with a gray picture", "Farthest pixel", "the error of the worst pixel", "toy"):
        assert words in page, words
