"""What a split folder claims: checked within bounds before anything is allocated, opened or imported."""

import json
import os
import shutil
import tracemalloc

import numpy as np
import onnx
import pytest

from cutlayer.errors import DecodeError, SplitError
from cutlayer.models.manifest import Manifest, sha256
from cutlayer.onnx.external import external_files
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split
from cutlayer.wire.handshake import Metadata, metadata_reply, read_metadata_reply
from tests.onnx.hostile_models import external
from tests.onnx.onnx_models import chain
from tests.test_golden import GOLDEN
from tests.tiny_split import images, write_split

HUGE = 1 << 40
NAN, INFINITE = float("nan"), float("inf")


def claim(folder, path, value):
    """A split folder that claims something at a path of keys, as `split.json` would be if it were made for that."""
    write_split(folder)
    data = json.loads((folder / "split.json").read_text())
    *way, last = path.split(".")
    place = data
    for key in way:
        place = place[key]
    place[last] = value
    (folder / "split.json").write_text(json.dumps(data))
    return folder


def ends(head=(1,), answers=(1,), state=None):
    tensors = {"head": {"x": {"shape": list(head)}}, "answers": {"y": {"shape": list(answers)}}}
    return {**tensors, "tail": {}, "kept": {}, "state": state or {}}


LIES = [
    *(("smashed.shape", shape) for shape in (
        [HUGE], [HUGE, HUGE], [-1], [0, 6, 6], [2.0, 6, 6], [True, 6, 6], ["2", 6, 6], [[2], 6, 6], "2x6x6", None, {},
        [1] * 100, [1 << 20, 1 << 20], [NAN], [None],
    )),
    *(("smashed.dtype", dtype) for dtype in (
        "object", "O", "V1000000", "U1000000", "complex128", "", None, 7, ["f4"], "<f4",
    )),
    *(("input.low", bound) for bound in (NAN, INFINITE, "0", True, [0], 2.0)),
    ("input.high", -1.0), ("input.extra", 1), ("input", None), ("input", []), ("smashed", 3),
    *(("classes", count) for count in (-1, 0, 2.5, "3", True, None, HUGE, [3])),
    ("model", 3), ("model", None), ("model", "x" * 5000), ("model", "caf\udce9"), ("cut", ["relu"]), ("cut", "\ud800"),
    ("data", 3), ("data", "caf\udce9"), ("data", "x" * 5000),
    *(("defense", stated) for stated in (None, [], "none", {}, {"name": 3}, {"name": "none", "sigma": NAN},
       {"name": "none", "of": [[[[0]] * 2000]]}, {"name": "none", "then": 5}, {"name": "none", "x": "\udcff"})),
    *(("files", stated) for stated in (None, [], {"head.onnx": 3}, {"head.onnx": "ab"}, {"../x": "0" * 64},
       {"/etc/passwd": "0" * 64}, {"": "0" * 64}, {"..": "0" * 64}, {"a\\b": "0" * 64}, {"a\0": "0" * 64},
       {str(i): "0" * 64 for i in range(2000)})),
    ("sources", {"mine.py:Net": "no hash"}), ("sources", []),
    ("mean", [NAN]), ("mean", 0.5), ("mean", ["0.5"]), ("std", [0.0]), ("std", [-1.0]), ("std", [1.0] * 5000),
    ("ends", []), ("ends", {}), ("ends", {"head": {}, "tail": {}, "kept": {}, "answers": {}, "state": {}}),
    *(("ends", ends(**lie)) for lie in (
        {"head": [HUGE]}, {"answers": [-2]}, {"head": [-1]}, {"head": [1.5]}, {"state": {"a": "y"}},
        {"state": {"x": 1}},
    )),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), LIES, ids=lambda value: str(value)[:40].encode("ascii", "replace").decode())
def test_a_lie_is_one_sentence_and_allocates_nothing(tmp_path, path, value):
    folder = claim(tmp_path / "split", path, value)
    tracemalloc.start()
    with pytest.raises(SplitError, match=r"split\.json is damaged \(") as refused:
        open_split(folder)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
    assert "Error" not in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 700


@pytest.mark.parametrize("key", ["model", "cut", "classes", "input", "smashed", "defense", "files"])
def test_a_missing_key_is_named(tmp_path, key):
    write_split(tmp_path)
    data = json.loads((tmp_path / "split.json").read_text())
    del data[key]
    (tmp_path / "split.json").write_text(json.dumps(data))
    with pytest.raises(SplitError, match=rf"split\.json is damaged \(split\.json has no {key}\)"):
        open_split(tmp_path)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"split"', "{}", '{"smashed": ' * 100_000, "9" * 10_000])
def test_what_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(SplitError, match=r"split\.json is damaged"):
        open_split(tmp_path)


def test_a_manifest_that_could_not_be_read_is_not_written(tmp_path):
    manifest = write_split(tmp_path)
    lying = Manifest(**{**vars(manifest), "model": "caf\udce9.onnx"})
    with pytest.raises(
        SplitError,
        match=r"cannot be written as a split folder: model is .*, which has letters that UTF-8 cannot hold",
    ):
        lying.save(tmp_path)
    assert open_split(tmp_path).manifest == manifest


def lying(folder, **claims):
    """A split folder with another claim and the right version, so that only its files show the lie."""
    manifest = write_split(folder)
    Manifest(**{**vars(manifest), **claims}).save(folder)
    return open_split(folder)


@pytest.mark.parametrize(
    ("claims", "half", "complaint"),
    [
        ({"smashed": TensorSpec((2, 6, 7))}, "head", "gives smashed as float32 of shape Nx2x6x6, .* says .* Nx2x6x7"),
        ({"smashed": TensorSpec((2, 6, 6), "float64")}, "tail", "takes smashed as float32 .* says float64"),
        ({"smashed": TensorSpec((2, 36))}, "tail", "takes smashed as float32 of shape Nx2x6x6, .* Nx2x36"),
        ({"input": TensorSpec((1, 1 << 20, 6))}, "head", "takes image as float32 of shape Nx1x6x6"),
        ({"classes": 4}, "tail", "gives logits as float32 of shape Nx3, and split.json says float32 of shape Nx4"),
    ],
)
def test_what_the_halves_say_must_agree(tmp_path, claims, half, complaint):
    split = lying(tmp_path, **claims)
    with pytest.raises(SplitError, match=complaint):
        getattr(split, half)()


def with_weights_beside(folder):
    manifest = write_split(folder)
    path = folder / "head.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="head.weights", size_threshold=0)
    return manifest


def test_weights_beside_a_half_are_part_of_its_hash(tmp_path):
    manifest = with_weights_beside(tmp_path)
    files = {**manifest.files, "head.onnx": sha256(tmp_path / "head.onnx")}
    assert external_files(tmp_path / "head.onnx") == {"head.weights"}
    Manifest(**{**vars(manifest), "files": files}).save(tmp_path)
    with pytest.raises(SplitError, match=r"keeps weights in 'head\.weights', for which split\.json has no hash"):
        open_split(tmp_path).head()
    files["head.weights"] = sha256(tmp_path / "head.weights")
    Manifest(**{**vars(manifest), "files": files}).save(tmp_path)
    split = open_split(tmp_path)
    assert split.head()(images(2)).shape == (2, 2, 6, 6)
    split.with_head(tmp_path / "other", lambda path: shutil.copyfile(GOLDEN / "split-tiny/head.onnx", path))
    weights = bytearray((tmp_path / "head.weights").read_bytes())
    weights[0] ^= 1
    (tmp_path / "head.weights").write_bytes(weights)
    with pytest.raises(SplitError, match=r"head\.weights is not the file that split\.json was written for"):
        split.head()


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/passwd", "beside/weights.bin", ""])
def test_weights_outside_the_folder_are_refused(tmp_path, location):
    manifest = write_split(tmp_path / "split")
    head = external(location)(tmp_path / "split/head.onnx")
    files = {**manifest.files, "head.onnx": sha256(head)}
    Manifest(**{**vars(manifest), "files": files}).save(tmp_path / "split")
    with pytest.raises(SplitError, match=r"keeps weights in .*, for which split\.json has no hash"):
        open_split(tmp_path / "split").head()


@pytest.mark.parametrize("where", ["node", "body", "sparse", "function"])
def test_weights_are_found_wherever_they_are(tmp_path, where):
    outside = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    entry = outside.external_data.add()
    entry.key, entry.value = "location", "w.bin"
    node = onnx.helper.make_node("Constant", [], ["c"], value=outside)
    model = onnx.load(chain(tmp_path / "m.onnx"))
    if where == "node":
        model.graph.node.append(node)
    elif where == "body":
        body = onnx.helper.make_graph([node], "body", [], [])
        model.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body))
    elif where == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(outside)
    else:
        model.functions.append(onnx.helper.make_function("ours", "F", [], ["c"], [node], []))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert external_files(tmp_path / "m.onnx") == {"w.bin"}


def test_a_file_that_is_a_link_out_of_the_folder_is_refused(tmp_path):
    write_split(tmp_path / "split")
    (tmp_path / "split/head.onnx").rename(tmp_path / "head.onnx")
    (tmp_path / "split/head.onnx").symlink_to("../head.onnx")
    with pytest.raises(SplitError, match=r"head\.onnx is a link that leads out of the folder"):
        open_split(tmp_path / "split").head()
    # Kubernetes replaces all files of a folder at once by such links.
    (tmp_path / "split/..data").mkdir()
    (tmp_path / "head.onnx").rename(tmp_path / "split/..data/head.onnx")
    (tmp_path / "split/head.onnx").unlink()
    (tmp_path / "split/head.onnx").symlink_to("..data/head.onnx")
    assert open_split(tmp_path / "split").head()(images(1)).shape == (1, 2, 6, 6)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_half_that_is_no_file_is_refused(tmp_path, make):
    write_split(tmp_path)
    (tmp_path / "head.onnx").unlink()
    make(tmp_path / "head.onnx")
    with pytest.raises(SplitError, match=r"head\.onnx"):
        open_split(tmp_path).head()


@pytest.mark.parametrize("shape", [(-2, 3), (HUGE, 3), tuple([1] * 1000), (-1, 1 << 62)])
def test_a_server_that_describes_absurd_tensors_is_refused(shape):
    reply = metadata_reply(Metadata("m@c", ("v",), {"smashed": ("FP32", shape)}, {"logits": ("FP32", (-1, 3))}))
    tracemalloc.start()
    with pytest.raises(DecodeError, match="impossible lengths"):
        read_metadata_reply(reply)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_server_that_describes_very_many_tensors_is_refused():
    tensors = {f"t{i}": ("FP32", (-1, 3)) for i in range(1000)}
    with pytest.raises(DecodeError, match="describes 1000 tensors"):
        read_metadata_reply(metadata_reply(Metadata("m@c", ("v",), tensors, {})))


def test_old_folders_still_open():
    for name in ("split-tiny", "split-torch"):
        split = open_split(GOLDEN / name)
        smashed = split.head()(np.zeros((2, *split.manifest.input.shape), np.float32))
        assert split.tail()(smashed).shape == (2, split.manifest.classes)
