"""Sentences of several lengths in one request: what arrives is what each alone would send, or it is refused."""

import numpy as np
import pytest

from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.none import Undefended
from cutlayer.edge.inputs import contract
from cutlayer.edge.pipeline import Pipeline
from cutlayer.errors import DataError
from cutlayer.models.manifest import Manifest
from cutlayer.sequences import padded
from cutlayer.spec import TensorSpec, token_spec
from cutlayer.wire.codecs.packed import codec_named

LENGTH, WIDTH = 6, 8
TABLE = np.random.default_rng(0).normal(size=(20, WIDTH)).astype(np.float32)
TABLE[0] = 0
SENTENCES = np.array([[3, 4, 5, 6, 7, 8], [9, 0, 0, 0, 0, 0], [10, 11, 12, 0, 0, 0]], np.int64)


def sent(ids, codec, defense=None):
    pipeline = Pipeline(lambda ids: TABLE[ids], defense or Undefended(), codec_named(codec), LENGTH)
    released = pipeline.release(ids, np.random.default_rng(0))
    return codec_named(codec).decode(released.encoded)


@pytest.mark.parametrize("codec", ["raw", "fp16", "bf16", "int8:channel", "int4:channel+zstd", "raw+shuffle"])
def test_sentences_of_several_lengths_arrive_as_each_alone(codec):
    together = sent(SENTENCES, codec)
    alone = [padded(sent(SENTENCES[i : i + 1], codec), LENGTH) for i in range(len(SENTENCES))]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_noise_does_not_fall_on_padding():
    assert not sent(SENTENCES, "raw", GaussianNoise(sigma=1.0))[1, 1:].any()


@pytest.mark.parametrize("codec", ["int8", "int4+zstd", "top-k:0.5"])
def test_a_codec_that_would_change_padding_takes_one_length_alone(codec):
    assert sent(SENTENCES[:1].repeat(2, axis=0), codec).shape == (2, LENGTH, WIDTH)
    assert sent(SENTENCES[1:2], codec).shape == (1, 1, WIDTH)
    with pytest.raises(DataError, match="these have 1 to 6 tokens: send them one by one, or take another codec"):
        sent(SENTENCES, codec)


@pytest.mark.parametrize(
    ("ids", "given"),
    [
        ([[0, 0, 0]], "a sequence without tokens"), ([[3, 4], [0, 0]], "a sequence without tokens"),
        ([[0, 3]], "the id 0 before a token"), ([[3, 0, 4, 0]], "the id 0 before a token"),
    ],
)  # fmt: skip
def test_padding_stands_behind_a_sentence_alone(ids, given):
    smashed = TensorSpec((LENGTH, WIDTH))
    manifest = Manifest("m", "c", 2, token_spec(LENGTH, 20), smashed, {"name": "none"}, None, sequence=True)
    check = contract(manifest)
    np.testing.assert_array_equal(check(SENTENCES), SENTENCES)
    with pytest.raises(DataError, match=f"cannot take {given}"):
        check(np.array(ids))
