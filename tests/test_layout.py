"""The seven principles of the layout, each as a check that fails when it is broken."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("attacks", "benchmarks", "cloud", "cutlayer", "defenses", "edge")
OURS = sorted(
    str(path.relative_to(ROOT))
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if not path.name.endswith("_pb2.py")
)


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function, class or method of that name, with its file."""
    for file in OURS:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Call) and name in (getattr(node.func, "id", ""), getattr(node.func, "attr", "")):
                yield file, node


def literals(file: str) -> Iterator[object]:
    """The constants of a file, one by one, f-strings and docstrings included."""
    return (node.value for node in ast.walk(tree(file)) if isinstance(node, ast.Constant))


def files_with(*values: object) -> set[str]:
    return {file for file in OURS if set(values) & {v for v in literals(file) if isinstance(v, str | int)}}


# 1. A split folder is an object.


def test_only_split_folder_reads_a_manifest():
    loads = {
        file
        for file, call in calls("load")
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "Manifest.load"
    }
    assert loads == {"cutlayer/split_folder.py"}


def test_the_files_of_a_split_folder_are_named_once():
    names = [f"{half}.{kind}" for half in ("head", "tail") for kind in ("onnx", "safetensors")]
    assert files_with(*names) == set()
    assert files_with("split.json", "defense.safetensors") == {"cutlayer/models/manifest.py"}


def test_no_half_is_opened_without_its_hash_being_verified():
    """Benchmarks of the wire open an ONNX file of their own, which belongs to no split folder."""
    opened = [(file, call) for file, call in calls("open_half") if not file.startswith("benchmarks/")]
    assert {file for file, _ in opened} == {"cutlayer/split_folder.py"}
    assert all(ast.unparse(call.args[0]).startswith("self.file(") for _, call in opened)
    assert {file for file, _ in calls("rebuild")} == {"cutlayer/split_folder.py"}


# 2. One place builds a View.


def test_only_privacy_builds_a_view():
    assert {file for file, _ in calls("View")} == {"cutlayer/privacy/view.py"}


# 3. One way to run a device and a server as processes.


def test_only_deployment_starts_a_device_or_a_server():
    """Benchmarks start the processes of both contenders in one way of their own."""
    started = files_with("cutlayer.cli", "cutlayer.deployment.device")
    assert {file for file in started if not file.startswith("benchmarks/")} <= {
        "cutlayer/deployment/processes.py",
        "cutlayer/deployment/device_process.py",
        "cutlayer/deployment/training_processes.py",
    }


# 4. One schema, one kit, one list of percentiles, one Estimate.


def test_the_percentiles_are_listed_once():
    """A second list would be a tuple, list, set or dict that names two of the upper ones."""
    upper = {90, 95, 99, 99.9, "p90", "p95", "p99"}
    listing = set()
    for file in OURS:
        for node in ast.walk(tree(file)):
            items = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
            if len(upper & {item.value for item in items if isinstance(item, ast.Constant)}) >= 2:
                listing.add(file)
    assert listing == {"cutlayer/percentiles.py"}


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ("<!doctype html>", "cutlayer/report/kit/markup.py"),
        ("Content-Security-Policy", "cutlayer/report/kit/markup.py"),
    ],
)
def test_the_skeleton_of_a_page_exists_once(words, file):
    assert {f for f in OURS if any(isinstance(v, str) and words in v for v in literals(f))} == {file}


def test_only_the_kit_aligns_the_columns_of_a_terminal():
    assert {file for file, _ in calls("ljust")} == {"cutlayer/report/kit/columns.py"}


def test_there_is_one_estimate():
    defined = [
        file
        for file in OURS
        for node in ast.walk(tree(file))
        if isinstance(node, ast.ClassDef) and node.name == "Estimate"
    ]
    assert len(defined) == 1, defined


def test_only_records_reads_and_writes_what_a_run_and_a_profile_leave():
    names = ("result.json", "env.json", "requests.npz", "reconstructions.npz", "index.sqlite", "profile.json")
    assert {file for file in files_with(*names) if not file.startswith(("cutlayer/records/", "benchmarks/"))} == set()


# 5. Things carry their own words: see tests/test_recipes.py.


# 6. Folders per protocol, and every arrow downward; pyproject.toml has the floors.


def test_no_import_goes_round_in_a_circle():
    graph = grimp.build_graph("cutlayer", cache_dir=None)
    arrows = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_no_protocol_knows_the_other():
    for file in OURS:
        for here, there in (("grpc", "zmq"), ("zmq", "grpc")):
            if file.startswith(f"cutlayer/wire/{here}/"):
                assert f"cutlayer.wire.{there}" not in (ROOT / file).read_text(), file


# 7. Data knows its modality.


@pytest.mark.parametrize("place", ["cloud", "edge", "cutlayer/deployment", "cutlayer/records", "cutlayer/wire"])
def test_what_carries_any_data_does_not_speak_of_images_axes(place):
    spoken = [
        file
        for file in [*OURS, "cutlayer/split_folder.py", "cutlayer/privacy/view.py", "cutlayer/privacy/releases.py"]
        if file.startswith((place, "cutlayer/split_folder", "cutlayer/privacy/view", "cutlayer/privacy/releases"))
        and "(N, C, H, W)" in (ROOT / file).read_text()
    ]
    assert spoken == []
