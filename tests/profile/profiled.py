"""A profile that the command wrote, of a model of a few operators: written once, read by many tests."""

import pytest

from cutlayer.records.profile_files import read
from tests.command import cutlayer
from tests.onnx.onnx_models import chain, weights, write

QUICK = ("--samples", "90", "--seconds", "0.1", "--codecs", "raw,int8")


def segmenter(path):
    """An encoder and a decoder, from 3x96x96 to scores of 21 classes at 48x48 places: an answer of 193,536 bytes."""
    halving = {"pads": [1, 1, 1, 1], "strides": [2, 2]}
    nodes = [("c1 = Conv image k1", halving), "r1 = Relu c1", ("c2 = Conv r1 k2", halving), "r2 = Relu c2"]
    nodes += [("c3 = Conv r2 k3", halving), "r3 = Relu c3", ("c4 = Conv r3 k4", {"pads": [1, 1, 1, 1]}), "r4 = Relu c4"]
    nodes += [("u1 = ConvTranspose r4 k5", {"strides": [2, 2]}), "r5 = Relu u1"]
    nodes += [("scores = ConvTranspose r5 k6", {"strides": [2, 2]})]
    kernels = [weights("k1", 16, 3, 3, 3), weights("k2", 32, 16, 3, 3), weights("k3", 64, 32, 3, 3)]
    kernels += [weights("k4", 64, 64, 3, 3), weights("k5", 64, 32, 2, 2), weights("k6", 32, 21, 2, 2)]
    return write(path, nodes, kernels, given=("image", ["N", 3, 96, 96]), wanted=("scores", ["N", 21, 48, 48]))


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return chain(tmp_path_factory.mktemp("model") / "chain.onnx")


@pytest.fixture(scope="session")
def profiled(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("profile")
    done = cutlayer("profile", model, *QUICK, "--cuts", "r1,flat", "--network", "loopback,200mbit/2ms", "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout, read(out)
