import numpy as np
import pytest
import torch

from cloud.tap import Tap, read
from cutlayer.experiment import adversary
from cutlayer.experiment.nouns import Named
from cutlayer.wire.codecs.packed import codec_named
from defenses.base import Defense
from edge.onnx_head import OnnxHead
from tests.tiny_split import SMASHED, edge_at, images, serving, write_split


@pytest.mark.parametrize("codec", ["int8", "int4:channel+zstd", "top-k:0.2", "bf16+shuffle+zstd"])
def test_what_the_attack_sees_is_what_arrived_after_the_codec(tmp_path, codec):
    folder, victims = tmp_path / "split", images(3)
    write_split(folder)
    tap = Tap(tmp_path / "tap")
    with serving(folder, "inprocess", tap=tap) as client:
        edge = edge_at(folder, client, codec=codec_named(codec))
        for index in range(len(victims)):
            edge.infer(victims[index : index + 1], index)
    tap.close()
    arrived = np.concatenate([smashed for _, smashed in read(tmp_path / "tap")])

    query = adversary.oracle(adversary.wire(folder, Defense(), codec), 0, Named("ridge"))
    seen = np.concatenate([query(torch.from_numpy(image[None])).numpy() for image in victims])
    np.testing.assert_array_equal(seen, arrived)
    clean = OnnxHead(folder / "head.onnx")(victims)
    assert arrived.shape == clean.shape == (3, *SMASHED.shape)
    assert not np.array_equal(arrived, clean)
