"""Names of what is not part of cutlayer: files, modules, entry points; and what each kind has to be."""

import importlib.metadata
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cutlayer import own
from cutlayer.defenses.base import deployed
from cutlayer.errors import ConfigError, DecodeError, SplitError
from cutlayer.experiment import plan
from cutlayer.registry import ATTACKS, CODECS, DATASETS, DEFENSES, METRICS, MODELS, Registry, defense_from
from cutlayer.split_folder import open_split
from cutlayer.wire.codecs import packed
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.codecs.packed import codec_named, decode, own_codecs, parts

GOLDEN = Path(__file__).parent / "golden"
MINE = '''
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from cutlayer.attacks.base import Attack
from cutlayer.defenses.base import Defense
from cutlayer.metrics.base import Metric
from cutlayer.wire.codecs.raw import Raw


@dataclass(kw_only=True)
class Gray(Attack):
    """Answer with gray."""

    plain_words: ClassVar[str] = "always answers with gray"
    level: float = 0.5

    def invert(self, smashed):
        return torch.full((len(smashed), 1, 8, 8), self.level)


@dataclass(kw_only=True)
class Idle(Attack):
    def fit(self, view):
        pass


class Bare(Attack):
    level: float = 0.5

    def invert(self, smashed):
        return smashed


@dataclass(kw_only=True)
class Halve(Defense):
    taken: float = 0.5

    def protect(self, smashed, rng):
        return smashed * (1 - self.taken)


class Loud(Raw):
    name = "loud"

    def encode(self, array):
        return super().encode(2 * array)._replace(parameters={"codec": self.name})

    def decode(self, encoded):
        return super().decode(encoded) / 2

    def most_bytes(self, encoded):
        return super().most_bytes(encoded)


class Masked(Loud):
    name = "int8"


FARTHEST = Metric("Farthest", "the worst pixel.", "low", lambda a, b, c: (a - b).abs().flatten(1).amax(1))
nothing = None
'''


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_name_with_a_file_is_the_attribute(mine, monkeypatch):
    gray = ATTACKS.make(f"{mine}:Gray", level=0.25)
    assert repr(gray) == "Gray(level=0.25)"
    assert ATTACKS.summary(f"{mine}:Gray") == "Answer with gray. [level=0.5]"
    monkeypatch.chdir(mine.parent)
    assert ATTACKS.load("mine.py:Gray") is type(gray)
    assert (ATTACKS.label(f"{mine}:Gray"), ATTACKS.place(f"{mine}:Gray")) == ("Gray", "mine.py:Gray")


def test_a_name_with_a_module_is_the_attribute(mine, monkeypatch):
    assert ATTACKS.load("cutlayer.attacks.features.ridge:Ridge") is ATTACKS.load("ridge")
    folder = mine.parent / "mypackage"
    folder.mkdir()
    (folder / "__init__.py").touch()
    mine.rename(folder / "things.py")
    monkeypatch.chdir(mine.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert ATTACKS.load("mypackage.things:Gray").__name__ == "Gray"
    assert ATTACKS.identity("mypackage.things:Gray").startswith("mypackage.things:Gray#")


def test_another_process_has_the_same_class(mine):
    stored = pickle.dumps(ATTACKS.make(f"{mine}:Gray", level=0.25))
    code = (
        "import pickle, sys; from cutlayer.registry import ATTACKS; ATTACKS.load(sys.argv[1]); "
        "print(pickle.loads(bytes.fromhex(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, f"{mine}:Gray", stored.hex()]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "Gray(level=0.25)\n"


@pytest.mark.parametrize(
    ("registry", "attribute", "words"),
    [
        (ATTACKS, "Gone", "defines no 'Gone'; known: .*Gray"),
        (ATTACKS, "Graz", "did you mean Gray"),
        (ATTACKS, "Halve", "is no attack: it must be a class derived from cutlayer.attacks.base.Attack, and is the"),
        (ATTACKS, "Idle", r"is no attack yet: it lacks invert\(\) or invert_releases\(\) or identify\(\)"),
        (ATTACKS, "Bare", r"has options \(level\): write @dataclass\(kw_only=True\)"),
        (ATTACKS, "FARTHEST", "is no attack: .* and is of type Metric"),
        (DEFENSES, "Gray", "is no defense"),
        (METRICS, "Gray", "is no metric: it must be an instance of cutlayer.metrics.base.Metric"),
        (CODECS, "Gray", "derived from cutlayer.wire.codecs.base.Codec or cutlayer.wire.codecs.base.Packing"),
    ],
)
def test_what_is_not_of_its_kind_is_refused(mine, registry, attribute, words):
    with pytest.raises(ConfigError, match=words):
        registry.load(f"{mine}:{attribute}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (", r"mine\.py, line 1, cannot be imported: SyntaxError"),
        ("x = 1\n\ny = 1 / 0\n", r"line 3, cannot be imported: ZeroDivisionError: division by zero"),
        ("import torch_that_is_missing\n", "torch_that_is_missing is not installed"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_with_its_line(mine, text, words):
    mine.write_text(text)
    with pytest.raises(ConfigError, match=words):
        ATTACKS.load(f"{mine}:Gray")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no file .*gone\.py, which is to define 'Gray'"):
        ATTACKS.load(f"{tmp_path}/gone.py:Gray")
    with pytest.raises(ConfigError, match=r"There is no module 'gone\.things' that defines 'Gray'.*PYTHONPATH"):
        ATTACKS.load("gone.things:Gray")


class Point(importlib.metadata.EntryPoint):
    dist = type("Distribution", (), {"name": "their-package"})


@pytest.fixture
def offers(monkeypatch):
    """Lets an installed package offer names, each with what it stands for."""

    def offer(group, *points):
        found = {}
        for name, value in points:
            found.setdefault(name, []).append(Point(name=name, value=value, group=group))
        monkeypatch.setattr(own, "offered", lambda asked: found if asked == group else {})

    return offer


def test_an_installed_package_offers_a_name(mine, offers):
    offers("cutlayer.attacks", ("theirs", f"{mine}:Gray"))
    assert ATTACKS.load("theirs").__name__ == "Gray"
    assert ATTACKS.label("theirs") == "theirs"
    assert ATTACKS.identity("theirs") == f"theirs#{ATTACKS.digest(f'{mine}:Gray')}"
    assert ATTACKS.offered() == {"theirs": "their-package"}
    assert "theirs" not in set(ATTACKS)
    with pytest.raises(ConfigError, match="did you mean theirs"):
        ATTACKS.load("their")


def test_a_built_in_name_wins_and_a_name_of_two_packages_is_refused(mine, offers):
    offers("cutlayer.attacks", ("ridge", f"{mine}:Gray"), ("two", f"{mine}:Gray"), ("two", f"{mine}:Idle"))
    assert ATTACKS.load("ridge").__name__ == "Ridge"
    assert ATTACKS.identity("ridge") == "ridge"
    assert ATTACKS.hidden() == {"ridge": f"{mine}:Gray"}
    with pytest.raises(ConfigError, match="Two packages offer the attack 'two'"):
        ATTACKS.load("two")


def test_an_entry_point_of_a_real_package_is_listed(mine, tmp_path):
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cutlayer.attacks]\ngray = mine:Gray\nridge = mine:Gray\n")
    environment = {"PYTHONPATH": f"{Path(__file__).parents[1]}:{tmp_path}", "PATH": ""}
    command = [sys.executable, "-m", "cutlayer.cli", "list", "attacks"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "Answer with gray. [level=0.5] (from theirs)" in done.stdout
    assert "another package offers 'ridge' as well; write mine:Gray for that one" in done.stderr


def test_listing_names_imports_nothing():
    code = (
        "import sys; from cutlayer import registry; [list(v) for v in vars(registry).values() if isinstance(v, dict)]"
    )
    code += "; list(registry.ATTACKS); assert not {'torch', 'numpy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_class_that_wraps_another_takes_one_from_a_file(mine):
    wrapped = ATTACKS.make("averaging", attack=f"{mine}:Gray", options={"level": 0.75})
    assert [type(part).__name__ for part in wrapped.parts] == ["Averaging", "Gray"]


# Codecs


def test_codecs_from_files_are_parsed_beside_plus_and_colon(mine):
    assert [*map(str, parts("int8:channel+zstd"))] == ["int8:channel", "zstd"]
    assert parts("/c++/mine.py:Loud:3+zstd") == [("/c++/mine.py:Loud", "3"), ("zstd", None)]
    assert parts("raw+/c++/a.py:Pack") == [("raw", None), ("/c++/a.py:Pack", None)]
    assert parts("pack.age:Loud+zstd") == [("pack.age:Loud", None), ("zstd", None)]
    assert parts("top-k:0.1") == [("top-k", "0.1")]
    assert own_codecs(f"{mine}:Loud+zstd") == [f"{mine}:Loud"]


def test_a_codec_from_a_file_goes_by_its_own_name_on_the_wire(mine, monkeypatch):
    monkeypatch.setattr(packed, "_admitted", {})
    array = np.arange(6, dtype=np.float32).reshape(1, 6)
    encoded = codec_named(f"{mine}:Loud+zstd").encode(array)
    assert encoded.parameters["codec"] == "loud+zstd"
    np.testing.assert_array_equal(decode(encoded), array)
    with pytest.raises(ConfigError, match="is called 'int8' on the wire"):
        codec_named(f"{mine}:Masked")


@pytest.mark.parametrize("name", ["loud2", "os:system", "/tmp/mine.py:Loud", "mine:Loud", "loud2+zstd"])
def test_a_client_cannot_make_a_server_import_anything(mine, name, monkeypatch):
    monkeypatch.setattr(own, "load", lambda name: pytest.fail(f"{name} was imported"))
    with pytest.raises(DecodeError):
        decode(Encoded("FP32", (1, 1), b"0000", {"codec": name.replace("/tmp/mine.py", str(mine))}))


# Experiments

PLAN = """
data = "digits"
model = "he_lenet"
cut = "conv1"
[measure]
codec = "mine.py:Loud+zstd"
metrics = ["mine.py:FARTHEST"]
[[defense]]
name = "mine.py:Halve"
then = {name = "gaussian-noise", sigma = 0.1}
[[attack]]
name = "mine.py:Gray"
[[attack]]
name = "averaging"
attack = "mine.py:Gray"
"""


def planned(folder, text=PLAN, mine=MINE, **settings):
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(mine)
    (folder / "plan.toml").write_text(text)
    (experiment,) = plan.load(folder / "plan.toml", settings)
    return experiment


def test_a_file_in_a_plan_lies_beside_the_plan_and_is_found_again(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    experiment = planned(tmp_path / "plans")
    where = tmp_path / "plans" / "mine.py"
    assert experiment.attacks[0].name == f"{where}:Gray"
    assert experiment.attacks[1].options == {"attack": f"{where}:Gray"}
    assert experiment.measure.codec == f"{where}:Loud+zstd"
    assert experiment.defense.label == "Halve then gaussian-noise sigma=0.1"
    assert [attack.label for attack in experiment.attacks] == ["Gray", "averaging attack=Gray"]
    (tmp_path / "elsewhere" / "experiment.toml").write_text(plan.toml(experiment))
    (again,) = plan.load(tmp_path / "elsewhere" / "experiment.toml")
    assert (again, again.id) == (experiment, experiment.id)


def test_a_file_in_a_setting_lies_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path / "here")
    experiment = planned(tmp_path / "plans", **{"defense.name": "mine.py:Halve"})
    assert experiment.defense.name == f"{tmp_path / 'here' / 'mine.py'}:Halve"


def test_the_id_follows_the_text_of_the_file_and_not_its_place(tmp_path):
    first, moved = planned(tmp_path / "a"), planned(tmp_path / "b")
    changed = planned(tmp_path / "c", mine=MINE + "\n# Another thought.\n")
    assert first.id == moved.id
    assert first.id != changed.id
    # Every place that names the file counts by itself.
    for key, text in {
        "attack": PLAN.replace('"mine.py:Gray"', '"ridge"'),
        "metrics": PLAN.replace('["mine.py:FARTHEST"]', "[]"),
        "codec": PLAN.replace("mine.py:Loud", "raw"),
    }.items():
        assert planned(tmp_path / f"d{key}", text).id != first.id, key


def test_what_is_built_in_has_no_hash_in_the_id():
    (experiment, *_) = plan.load(Path(__file__).parents[1] / "experiments" / "demo.toml")
    assert experiment.id == replace(experiment, claim="other words").id
    for registry in (ATTACKS, CODECS, DATASETS, DEFENSES, METRICS, MODELS):
        assert [registry.identity(name) for name in registry] == list(registry)


def test_a_server_takes_one_codec_of_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "_admitted", {})
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(MINE)
    packed.admit(f"{tmp_path}/a/mine.py:Loud")
    packed.admit(f"{tmp_path}/a/mine.py:Loud")
    with pytest.raises(ConfigError, match="are both called 'loud' on the wire"):
        packed.admit(f"{tmp_path}/b/mine.py:Loud")


def test_metrics_whose_names_clash_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="There is another metric 'FARTHEST'"):
        planned(tmp_path / "a", PLAN.replace('["mine.py:FARTHEST"]', '["mine.py:FARTHEST", "mine.py:FARTHEST"]'))


# Split folders


@pytest.fixture
def split_with_own_defense(mine, tmp_path):
    import shutil

    shutil.copytree(GOLDEN / "split-tiny", tmp_path / "split")
    manifest = open_split(tmp_path / "split").manifest
    name = f"{mine}:Halve"
    replace(manifest, defense={"name": name}, sources={name: DEFENSES.digest(name)}).save(tmp_path / "split")
    return tmp_path / "split"


def test_a_split_folder_finds_the_defense_of_its_owner(split_with_own_defense):
    defense = deployed(open_split(split_with_own_defense))
    assert defense.protect(np.ones(2, np.float32), np.random.default_rng(0)).tolist() == [0.5, 0.5]


def test_a_device_finds_the_file_in_the_current_folder(split_with_own_defense, mine, tmp_path, monkeypatch):
    (tmp_path / "device").mkdir()
    mine.rename(tmp_path / "device" / "mine.py")
    monkeypatch.chdir(tmp_path / "device")
    assert type(deployed(open_split(split_with_own_defense))).__name__ == "Halve"


def test_a_device_without_the_file_is_told_what_to_copy(split_with_own_defense, mine):
    mine.unlink()
    own._source.cache_clear()
    with pytest.raises(SplitError, match=r"The split needs the defense Halve\. There is no file .*mine\.py.*copy it"):
        deployed(open_split(split_with_own_defense))


def test_a_file_that_has_changed_is_not_run(split_with_own_defense, mine):
    mine.write_text(MINE + "\n# Changed.\n")
    own._source.cache_clear()
    with pytest.raises(SplitError, match=r"mine\.py has changed since the split was made with the defense Halve"):
        deployed(open_split(split_with_own_defense))


def test_a_file_without_a_hash_is_not_run(split_with_own_defense, monkeypatch):
    replace(open_split(split_with_own_defense).manifest, sources={}).save(split_with_own_defense)
    monkeypatch.setattr(own, "load", lambda name: pytest.fail(f"{name} was imported"))
    with pytest.raises(SplitError, match="without the hash of its file, and nothing is imported without one"):
        deployed(open_split(split_with_own_defense))


def test_registries_share_one_mechanism():
    assert defense_from({"name": "none"}) is not None
    assert isinstance(Registry("thing", {"a": "math:pi"}, "none").load("a"), float)
