import onnx
import pytest
import torch
from torch import nn

from cutlayer.errors import SplitError
from cutlayer.models.export import export_onnx
from cutlayer.models.halves import split
from cutlayer.spec import TensorSpec, image_spec
from tests.models.lively import random_inputs
from tests.models.test_graph import Deciding
from tests.models.test_split import ROWS
from tests.onnx.onnx_models import run as run_onnx


def run(path, images):
    return torch.from_numpy(run_onnx(path, images.numpy()))


@pytest.mark.parametrize("name", ROWS)
def test_halves_compute_the_same_in_onnxruntime(name, lively, tmp_path):
    image, front, back = ROWS[name]
    model = lively(name, image)
    first, last = split(model, front, image), split(model, back, image)
    export_onnx(first.head, first.input, tmp_path / "head.onnx", "image", "smashed")
    export_onnx(last.tail, last.smashed, tmp_path / "tail.onnx", "smashed", "logits")
    images = random_inputs(image, 5)
    with torch.no_grad():
        smashed = last.head(images)
        torch.testing.assert_close(run(tmp_path / "head.onnx", images), first.head(images), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(run(tmp_path / "tail.onnx", smashed), last.tail(smashed), rtol=1e-4, atol=1e-4)


@pytest.fixture
def block():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()


def test_one_file_with_the_given_names_a_free_batch_and_nothing_of_this_machine(block, tmp_path, capfd):
    path = tmp_path / "head.onnx"
    export_onnx(block, image_spec(3, 8, 8), path, "image", "smashed")
    assert [file.name for file in tmp_path.iterdir()] == ["head.onnx"]
    assert capfd.readouterr() == ("", "")
    graph = onnx.load(path).graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["image", "smashed"]
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [0, 3, 8, 8]
    assert b".py" not in path.read_bytes()


def test_export_is_repeatable(block, tmp_path):
    for name in ("a.onnx", "b.onnx"):
        export_onnx(block, image_spec(3, 8, 8), tmp_path / name, "image", "smashed")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_batch_normalization_survives_a_container_left_in_training_mode(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).eval()
    images = torch.rand(4, 1, 8, 8)
    expected = model(images)
    part = nn.Sequential(*model)  # born in training mode, its children are not
    assert part.training
    export_onnx(part, image_spec(1, 8, 8), tmp_path / "part.onnx", "image", "smashed")
    assert not any(module.training for module in [*part.modules(), *model.modules()])
    assert torch.equal(model(images), expected)
    torch.testing.assert_close(run(tmp_path / "part.onnx", images), expected.detach(), rtol=1e-4, atol=1e-4)


class Drawing(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("model", "message"), [(Drawing, "computes something else"), (Deciding, r"^torch cannot export x\.onnx: .+$")]
)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path, model, message):
    with pytest.raises(SplitError, match=message):
        export_onnx(model(), TensorSpec((4,)), tmp_path / "x.onnx", "image", "smashed")
    assert list(tmp_path.iterdir()) == []
