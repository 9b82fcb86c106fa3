"""The README and the docs as a newcomer uses them: programs and plans run, and every named path exists."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from cutlayer.attacks.wrapping import Wrapping
from cutlayer.experiment.plan import parse
from cutlayer.experiment.spec import Measure, Training
from cutlayer.registry import ATTACKS, DEFENSES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LINK = re.compile(r"\]\(([^)#:]+)\)")
FOLDERS = re.compile(r"^\| (`[^|]+`) \|", re.M)


def test_the_quick_start_is_the_program_of_examples_which_tests_run():
    (program,) = re.findall(r"```python\n(.*?)```", README, re.S)
    assert (ROOT / "examples/quickstart.py").read_text().endswith(f'"""\n\n{program}')


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_every_link_leads_to_a_file(page):
    links = LINK.findall((ROOT / page).read_text())
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_experiment_file_of_the_docs_is_a_plan():
    text, *_ = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/experiments.md").read_text(), re.S)
    plan = tomllib.loads(text)
    experiments = parse(plan)
    assert len(experiments) == len(plan["cut"]) * len(plan["seed"]) * len(plan["defense"][0]["sigma"])
    assert plan["training"].keys() == {field.name for field in fields(Training)}
    assert plan["measure"].keys() == {field.name for field in fields(Measure)}


def test_the_docs_name_every_attack_beside_the_access_that_it_needs():
    section = (ROOT / "docs/experiments.md").read_text().partition("\n## The attacks\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z-]+) \| (.*`.*) \|$", section, re.M)
    named = [(attack, access) for access, cell in rows for attack in re.findall(r"`([^`]+)`", cell)]
    assert sorted(named) == sorted((name, ATTACKS.make(name).needs.label) for name in ATTACKS)


def test_the_docs_name_every_attack_that_begins_with_another_one():
    text = (ROOT / "docs/experiments.md").read_text()
    (names,) = re.findall(r"Some begin with another one.*?and these nest:(.*?)\.", text, re.S)
    assert {*re.findall(r"`([^`]+)`", names)} == {n for n in ATTACKS if issubclass(ATTACKS.load(n), Wrapping)}


@pytest.mark.parametrize("registry", [ATTACKS, DEFENSES], ids=lambda registry: registry.kind)
def test_the_docs_say_what_an_attack_or_a_defense_of_ones_own_must_have(registry):
    (row,) = re.findall(rf"^\| {registry.kind} \|.*$", (ROOT / "docs/own.md").read_text(), re.M)
    for base, needed in registry._contract.items():
        assert {base.replace(":", "."), *(n for methods in needed for n in methods.split(" or "))} <= {
            *re.findall(r"`([^`]+)`", row)
        }


def test_where_is_what_names_every_folder():
    section = README.partition("## Where is what")[2].partition("\n## ")[0]
    named = {path for cell in FOLDERS.findall(section) for path in re.findall(r"`([^`]+)`", cell)}
    packages = [
        ROOT / name
        for name in ("attacks", "benchmarks", "cloud", "defenses", "edge", "examples", "experiments", "proto")
    ]
    packages += [ROOT / "tests"]
    packages += [p for p in (ROOT / "cutlayer").iterdir() if (p / "__init__.py").exists() and not p.is_symlink()]
    assert {f"{path.relative_to(ROOT)}/" for path in packages} <= named
    assert [path for path in named if not (ROOT / path).exists()] == []
