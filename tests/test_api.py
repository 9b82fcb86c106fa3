"""The names of ``import cutlayer``: a module and arrays of one's own, cut, served, observed and attacked."""

import ast
import inspect
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import cutlayer
from cutlayer import api
from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import Access
from cutlayer.cloud import tap
from cutlayer.errors import ConfigError, DataError, SplitError, WithheldError

N, CLASSES = 640, 3


def arrays():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, N)
    return rng.random((N, 1, 8, 8), np.float32) * (labels[:, None, None, None] + 1) / CLASSES, labels


class Own(nn.Module):
    """A module whose class no other process can name."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 64, CLASSES)

    def forward(self, x):
        return self.out(torch.relu(self.conv(x)).flatten(1))


@pytest.fixture(scope="module")
def data():
    return cutlayer.load_data(*arrays())


def model():
    torch.manual_seed(0)
    return Own().eval()


@pytest.fixture(scope="module")
def split(data, tmp_path_factory):
    return cutlayer.split(model(), "conv", data, tmp_path_factory.mktemp("api") / "split")


@pytest.fixture(scope="module")
def noisy(data, tmp_path_factory):
    noise = {"name": "gaussian-noise", "sigma": 0.5}
    return cutlayer.split(model(), "conv", data, tmp_path_factory.mktemp("api") / "noisy", defense=noise)


def test_a_probe_is_one_line(split, noisy, data):
    (bright,) = cutlayer.probe("attribute", split, data, attribute="bright", n=60)
    assert bright.auc.value > 0.9
    assert bright.auc.n == 60
    (hidden,) = cutlayer.probe("attribute", noisy, data, attribute="bright", n=60)
    assert hidden.auc.value < bright.auc.value


def test_the_names_are_there_and_importing_them_imports_nothing():
    code = (
        "import sys, cutlayer; assert not {'torch', 'numpy', 'cutlayer.api'} & set(sys.modules); print(*dir(cutlayer))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(cutlayer.__all__) <= set(done.stdout.split())
    assert all(getattr(cutlayer, name) is getattr(api, name) for name in cutlayer.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = cutlayer.nothing


def test_a_type_checker_sees_the_same_names():
    stub = ast.parse((Path(cutlayer.__file__).parent / "__init__.pyi").read_text())
    imported = {name.asname for node in stub.body if isinstance(node, ast.ImportFrom) for name in node.names}
    public = {node.name for node in ast.parse(Path(api.__file__).read_text()).body if isinstance(node, ast.FunctionDef)}
    assert sorted(imported) == cutlayer.__all__ == sorted(name for name in public if not name.startswith("_"))


def test_the_cuts_of_a_module(data):
    names = [cut.name for cut in cutlayer.cuts(model(), data)]
    assert names[0] == "conv"
    assert names == [cut.name for cut in cutlayer.cuts(model(), (1, 8, 8))]


def test_a_module_of_ones_own_is_cut_as_it_is(data, tmp_path):
    own, images = model(), data.test.inputs
    split = cutlayer.split(own, "conv", data, tmp_path / "split")
    with torch.no_grad():
        expected = own(torch.from_numpy(images)).numpy()
        for parameter in own.parameters():
            parameter.zero_()
    np.testing.assert_allclose(split.model()(images), expected, rtol=1e-4, atol=1e-5)
    halves = split.halves()
    with torch.no_grad():
        np.testing.assert_allclose(halves.tail(halves.head(torch.from_numpy(images))), expected, rtol=1e-4, atol=1e-5)


def test_another_process_has_the_module_as_onnx_only(split, data):
    opened = cutlayer.open_split(split.path)
    assert opened.manifest == split.manifest
    np.testing.assert_array_equal(opened.head()(data.test.inputs), split.head()(data.test.inputs))
    assert split.has_halves
    assert not opened.has_halves
    with pytest.raises(SplitError, match="no halves in torch"):
        opened.halves()
    with pytest.raises(WithheldError, match="withholds the head"):
        cutlayer.attack("white-box", opened, data)


def test_training_changes_the_copy_that_is_cut(data, tmp_path):
    own = model()
    before = own.conv.weight.detach().clone()
    trained = cutlayer.split(own, "conv", data, tmp_path / "split", epochs=1)
    assert torch.equal(own.conv.weight, before)
    assert not torch.equal(trained.halves().head.conv.weight, before)


def test_a_model_by_name_is_rebuilt_from_its_folder(tmp_path):
    data = cutlayer.load_data("faces")
    cutlayer.split("he_lenet", "pool1", data, tmp_path / "split", epochs=0)
    assert cutlayer.open_split(tmp_path / "split").halves().cut == "pool1"
    assert "pool1" in {cut.name for cut in cutlayer.cuts("he_lenet", data)}


def test_a_model_in_a_file_of_ones_own_with_weights_is_rebuilt_by_any_process(data, tmp_path, monkeypatch):
    code = f"import torch\nfrom torch import nn\nCLASSES = {CLASSES}\n" + inspect.getsource(Own)
    (tmp_path / "mine.py").write_text(code)
    own = model()
    torch.save(own.state_dict(), tmp_path / "weights.pth")
    monkeypatch.chdir(tmp_path)
    assert "conv" in {cut.name for cut in cutlayer.cuts("mine.py:Own", data)}
    cutlayer.split("mine.py:Own", "conv", data, "split", weights="weights.pth")
    monkeypatch.chdir("/")
    opened, images = cutlayer.open_split(tmp_path / "split"), torch.from_numpy(data.test.inputs)
    halves = opened.halves()
    with torch.no_grad():
        assert torch.allclose(halves.tail(halves.head(images)), own(images), atol=1e-5)
        own.conv.weight.zero_()
    of_module = cutlayer.split(own, "conv", data, tmp_path / "again", weights=tmp_path / "weights.pth")
    np.testing.assert_allclose(of_module.model()(data.test.inputs), opened.model()(data.test.inputs), atol=1e-5)


def test_an_onnx_file_is_left_to_the_command():
    with pytest.raises(ConfigError, match=r"is cut by `cutlayer split net.onnx`"):
        cutlayer.cuts("net.onnx", (1, 8, 8))


def test_training_needs_labels(tmp_path):
    unlabelled = cutlayer.load_data(arrays()[0])
    with pytest.raises(ConfigError, match="have no labels, which training needs"):
        cutlayer.split(model(), "conv", unlabelled, tmp_path / "split", epochs=1)


def test_a_model_with_too_few_logits_is_refused(data, tmp_path):
    with pytest.raises(SplitError, match=r"gives \(1, 2\) for one input, but the data has 3 classes"):
        cutlayer.split(nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(64, 2)), "1", data, tmp_path / "split")
    assert not (tmp_path / "split").exists()


def test_the_view_grants_what_the_threat_model_says_and_no_more(split, data):
    images = torch.from_numpy(data.test.inputs[:4])
    blind, black, white = (cutlayer.view(split, name, data) for name in ("query-free", "black-box", "white-box"))
    assert blind.auxiliary is black.auxiliary is white.auxiliary is data.auxiliary
    for seen, withheld in ((blind, ("query", "head", "defense")), (black, ("head", "defense"))):
        for name in withheld:
            with pytest.raises(WithheldError):
                getattr(seen, name)
    np.testing.assert_array_equal(black.query(images), cutlayer.observe(split, images.numpy()))
    assert white.head(images).requires_grad
    with pytest.raises(ConfigError, match="did you mean black-box"):
        cutlayer.view(split, "blackbox", data)


def test_what_is_observed_is_what_the_server_keeps(split, data, tmp_path):
    images = data.private.inputs[:3]
    with (
        cutlayer.serve(split, "zmq://127.0.0.1:0", tap=tmp_path / "tap") as address,
        cutlayer.connect(split, address, codec="int8") as device,
    ):
        answers = [device.infer(images[i : i + 1]) for i in range(len(images))]
        with pytest.raises(DataError, match="divide by 255"):
            device.infer(images * 255)
    with pytest.raises(DataError, match="divide by 255"):
        cutlayer.observe(split, images * 255)
    kept = np.concatenate([smashed for _, smashed in tap.read(tmp_path / "tap")])
    np.testing.assert_array_equal(cutlayer.observe(split, images, codec="int8"), kept)
    assert not np.array_equal(kept, cutlayer.observe(split, images))
    assert [trace.request_index for _, trace in answers] == [0, 1, 2]
    assert [logits.shape for logits, _ in answers] == [(1, CLASSES)] * 3


def test_each_observation_of_a_noisy_device_is_another(noisy, data):
    images = data.private.inputs[:2]
    first, second = (cutlayer.observe(noisy, images) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(cutlayer.observe(noisy, images, seed=1), cutlayer.observe(noisy, images, seed=1))


def test_an_attack_reconstructs_what_a_linear_head_shows(split, data):
    outcome = cutlayer.attack("ridge", split, data, n=8)
    np.testing.assert_array_equal(outcome.originals, data.private.inputs[:8])
    assert outcome.reconstructions.shape == outcome.originals.shape
    again = cutlayer.score(outcome.reconstructions, data)
    assert (again.leakage_gain, again.metrics) == (outcome.score.leakage_gain, outcome.score.metrics)
    assert outcome.score.n == 8
    gain = outcome.score.leakage_gain.value
    assert gain > 0.9, "a linear head with four times as many values as the image is invertible"
    assert str(outcome).startswith(f"ridge: leakage gain {gain:.1%} (95 % interval ")
    assert (outcome.identified.how, outcome.identified.top_1.value) == ("pixels", 1)
    assert str(outcome).endswith(f"identified 100.0% (95 % interval 63.1% to 100.0%, n = 8) among {len(data.private)}")
    with pytest.raises(ConfigError, match="no option"):
        cutlayer.attack("ridge", split, data, epochs=3)


def test_a_watch_list_reconstructs_nothing_and_says_whom_it_identifies(split, noisy, data):
    outcome = cutlayer.attack("watch-list", split, data, n=8)
    assert (outcome.reconstructions, outcome.score) == (None, None)
    assert (outcome.identified.how, outcome.identified.top_1.value) == ("watch list", 1)
    assert str(outcome).startswith("watch-list: identified 100.0% (95 % interval 63.1% to 100.0%, n = 8) among")
    assert cutlayer.attack("watch-list", noisy, data, n=8).identified.candidates == len(data.private)


def test_averaging_gains_from_several_observations(noisy, data):
    once = cutlayer.attack("ridge", noisy, data)
    often = cutlayer.attack("averaging", noisy, data, attack="ridge", n_releases=16)
    assert often.score.leakage_gain.low > once.score.leakage_gain.high


def test_an_attack_of_ones_own(split, data):
    @dataclass(kw_only=True)
    class Gray(Attack):
        needs = Access.QUERY_FREE

        def invert(self, smashed):
            return torch.full((len(smashed), 1, 8, 8), 0.5)

    outcome = cutlayer.attack(Gray(), split, data, n=4)
    assert (outcome.reconstructions == 0.5).all()
    assert "Gray()" in outcome.attack


def test_a_plan_is_run_and_its_records_are_returned(tmp_path):
    (tmp_path / "tiny.toml").write_text("""
        data = "faces"
        model = "he_lenet"
        cut = "pool1"
        training = {epochs = 1, images = 64}
        measure = {count = 4, private = 4, auxiliary = 40, warmup = 1}
    """)
    said = []
    (record,) = cutlayer.run(
        tmp_path / "tiny.toml", changes={"measure.count": "3"}, out=tmp_path / "runs", say=said.append
    )
    assert (record.data, record.model, record.utility.accuracy.n) == ("faces", "he_lenet", 3)
    assert said
    with pytest.raises(ConfigError, match="did you mean demo"):
        cutlayer.run("deno")


def test_a_device_without_torch_connects(folder):
    code = """
import sys
sys.modules["torch"] = None
import numpy, cutlayer
split = cutlayer.open_split(sys.argv[1])
with cutlayer.serve(split) as address, cutlayer.connect(split, address) as device:
    print(device.infer(numpy.zeros((1, 1, 6, 6), numpy.float32))[0].shape)
"""
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert done.stdout == "(1, 3)\n", done.stderr


def test_what_to_know_of_the_data_is_said(capsys):
    images, labels = arrays()
    twice = cutlayer.load_data(np.concatenate([images, images]), np.concatenate([labels, labels]))
    assert twice.notes
    assert [f"note: {note}" for note in twice.notes] == capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (np.zeros((N, 8, 8), np.uint8), (1, 8, 8)),
        (np.zeros((N, 8, 9, 3), np.float64), (3, 8, 9)),
        (np.full((N, 3, 8, 9), 255, np.uint8), (3, 8, 9)),
    ],
)
def test_images_come_in_several_layouts(images, shape):
    data = cutlayer.load_data(images, np.arange(N) % 2)
    assert data.input.shape == shape
    assert data.classes == ("0", "1")
    assert data.train.inputs.dtype == np.float32
    assert data.train.inputs.max() == (images.max() > 0)
    assert [len(part) for part in (data.train, data.auxiliary, data.private, data.test)] == [
        N // 2,
        N // 4,
        N // 8,
        N // 8,
    ]


@pytest.mark.parametrize(
    ("images", "labels", "sentence"),
    [
        (np.zeros((4, 1, 8, 8), np.float32), np.zeros(3, int), "images holds 4 images and labels holds 3 numbers"),
        (np.zeros((4, 1, 8, 8), np.float32), np.full(4, 0.5), "labels goes from 0.5 to 0.5"),
        (np.zeros((4, 1, 8, 8), np.float32), np.full(4, -1), "labels goes from -1 to -1"),
        (np.full((4, 1, 8, 8), 2.0), np.zeros(4, int), "from 2 to 2"),
        (np.full((4, 1, 8, 8), np.nan), np.zeros(4, int), "from nan to nan"),
        (np.zeros((4, 8, 8, 8), np.float32), np.zeros(4, int), "with 1, 3 or 4 channels"),
    ],
)
def test_arrays_that_are_no_images_with_labels_are_refused(images, labels, sentence):
    with pytest.raises(DataError, match=sentence):
        cutlayer.load_data(images, labels)
