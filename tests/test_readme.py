"""The README and the docs as a newcomer uses them: programs and plans run, and every named path exists."""

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from cutlayer.data.load import load
from cutlayer.experiment import victim
from cutlayer.experiment.plan import parse
from cutlayer.experiment.spec import Experiment, Measure, Training

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# A leakage gain as an `Estimate` prints itself, and as `cutlayer.attack` words it.
ESTIMATE = re.compile(r"value=([-\d.]+), n=(\d+), low=([-\d.]+), high=([-\d.]+)\)")
WORDED = re.compile(r"leakage gain ([-\d.]+)% \(95 % interval ([-\d.]+)% to ([-\d.]+)%, n = (\d+)\)")
LINK = re.compile(r"\]\(([^)#:]+)\)")
FOLDERS = re.compile(r"^\| (`[^|]+`) \|", re.M)


@pytest.fixture(scope="module")
def beside_a_split(tmp_path_factory):
    """A folder with artifacts/vgg: LeNet at pool1, trained briefly on photos, in place of the VGG-11 of the README."""
    folder, splits = tmp_path_factory.mktemp("readme"), load("photos")
    training = Training(epochs=1, images=1000)
    experiment = Experiment("photos", "he_lenet", "pool1", training=training)
    shown = victim.shown(experiment, splits)
    victim.export(experiment, victim.train(experiment, shown, print), shown, folder / "artifacts/vgg", print)
    return folder


@pytest.mark.parametrize("program", re.findall(r"```python\n(.*?)```", README, re.S), ids=lambda text: text.split()[1])
def test_a_python_program_prints_a_leakage_gain_with_its_interval(program, request, tmp_path):
    """Each program as it stands in the README."""
    folder = request.getfixturevalue("beside_a_split") if "artifacts/vgg" in program else tmp_path
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if found := ESTIMATE.search(done.stdout):
        value, n, low, high = map(float, found.groups())
    else:
        found = WORDED.search(done.stdout)
        assert found, done.stdout
        value, low, high, n = (
            float(number) * factor for number, factor in zip(found.groups(), (0.01, 0.01, 0.01, 1), strict=True)
        )
    assert n == 32
    # No defense and a shallow cut: ridge regression must get much, and no attack gets more than everything.
    assert 0.4 < low <= value <= high < 1


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_every_link_leads_to_a_file(page):
    links = LINK.findall((ROOT / page).read_text())
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_experiment_file_of_the_docs_is_a_plan():
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/experiments.md").read_text(), re.S)
    plan = tomllib.loads(text)
    experiments = parse(plan)
    assert len(experiments) == len(plan["cut"]) * len(plan["seed"]) * len(plan["defense"][0]["sigma"])
    assert plan["training"].keys() == {field.name for field in fields(Training)}
    assert plan["measure"].keys() == {field.name for field in fields(Measure)}


def test_where_is_what_names_every_folder():
    section = README.partition("## Where is what")[2].partition("\n## ")[0]
    named = {path for cell in FOLDERS.findall(section) for path in re.findall(r"`([^`]+)`", cell)}
    packages = [ROOT / name for name in ("attacks", "benchmarks", "cloud", "defenses", "edge", "experiments", "proto")]
    packages += [ROOT / "tests"]
    packages += [p for p in (ROOT / "cutlayer").iterdir() if (p / "__init__.py").exists() and not p.is_symlink()]
    assert {f"{path.relative_to(ROOT)}/" for path in packages} <= named
    assert [path for path in named if not (ROOT / path).exists()] == []
