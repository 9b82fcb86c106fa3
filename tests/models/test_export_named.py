import numpy as np
import onnx
import torch

from cutlayer.models.cuts import cut_nodes
from cutlayer.models.export import export_named
from cutlayer.models.zoo import build
from cutlayer.onnx.graph import checked, survey
from cutlayer.spec import image_spec
from tests.onnx.onnx_models import run

INPUT = image_spec(3, 32, 32)


def test_the_cuts_of_the_file_have_the_names_of_the_model(tmp_path):
    model = build("he_cifar10cnn", INPUT, 10)
    nodes = {cut.name: (cut, node) for cut, node in cut_nodes(model, INPUT)}
    wanted = ["normalize", "pool1", "ReLU22", "flatten"]
    path = tmp_path / "whole.onnx"
    export_named(model, {name: nodes[name][1] for name in wanted}, INPUT, path)

    offered = {cut.name: cut for cut in checked(survey(path)).cuts}
    assert set(wanted) <= set(offered)
    for name in wanted:
        assert (offered[name].shape, offered[name].macs) == (nodes[name][0].shape, nodes[name][0].macs)

    assert [output.name for output in onnx.load(path).graph.output] == ["logits"]
    image = np.random.default_rng(0).random((2, *INPUT.shape), np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(run(path, image), model(torch.from_numpy(image)).numpy(), atol=1e-4)


def test_the_model_stays_as_it_was(tmp_path):
    model = build("he_lenet", image_spec(1, 28, 28), 10)
    before = str(model.graph)
    ((_, node), *_) = cut_nodes(model, image_spec(1, 28, 28))
    export_named(model, {"here": node}, image_spec(1, 28, 28), tmp_path / "whole.onnx")
    assert str(model.graph) == before
    assert not model.training
