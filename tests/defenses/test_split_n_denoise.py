import functools

import numpy as np
import pytest
import torch
from scipy.stats import gamma, kstest

from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.shared.draws import radial
from cutlayer.defenses.split_n_denoise import SplitNDenoise
from cutlayer.edge.pipeline import Pipeline
from cutlayer.errors import ConfigError
from cutlayer.models.halves import SplitModel
from cutlayer.wire.codecs.packed import codec_named
from tests.defenses.sentences import LENGTH, sentences, trained
from tests.defenses.victims import rng


@functools.cache
def hardened(**options) -> SplitNDenoise:
    defense = SplitNDenoise(**{"noise": 0.02, "hidden": 64, "epochs": 12, **options})
    assert defense.harden(trained("embedding"), sentences(), seed=0) is trained("embedding")
    return defense


def pipeline(defense, halves: SplitModel) -> Pipeline:
    def head(ids: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return halves.head(torch.from_numpy(ids)).numpy()

    return Pipeline(head, defense, codec_named("raw"), LENGTH)


def tail(rows: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return trained("embedding").tail(torch.from_numpy(np.array(rows))).numpy()


@pytest.mark.parametrize("as_torch", [False, True])
def test_the_noise_has_the_density_of_the_paper(as_torch):
    like = np.zeros((400, 10, 24), np.float32)
    drawn = np.asarray(radial(torch.from_numpy(like) if as_torch else like, rng()), np.float64).reshape(-1, 24)
    lengths = np.linalg.norm(drawn, axis=1)
    assert kstest(lengths, gamma(24).cdf).pvalue > 1e-3
    directions = drawn / lengths[:, None]
    np.testing.assert_allclose(directions.T @ directions / len(drawn), np.eye(24) / 24, atol=0.01)
    assert drawn.dtype == np.float64
    assert np.abs(np.corrcoef(lengths, directions[:, 0])[0, 1]) < 0.06


def test_rows_are_clipped_and_the_noise_is_measured_against_the_clip():
    defense = hardened(epochs=0, noise=1e-6, clip=3.0)
    rows = rng().standard_normal((5, 4, 128)).astype(np.float32)
    sent = defense.protect(rows, rng())
    np.testing.assert_allclose(np.linalg.norm(sent, axis=2), 3.0, rtol=1e-3)
    facts = hardened(epochs=0, noise=0.5, clip=3.0).facts(rows)
    assert facts["epsilon_of_a_row_after_1"] == 2
    assert facts["epsilon_after_16"] == 16 * 4 * 2


def test_the_answer_is_nearer_to_that_without_noise_on_the_device():
    defense = hardened()
    data, device = sentences().test, pipeline(defense, trained("embedding"))
    clean = tail(device._head(data.inputs))
    raw = pipeline(hardened(epochs=0), trained("embedding")).answers(tail, data.inputs, rng())
    mended = device.answers(tail, data.inputs, rng())
    assert np.abs(mended - clean).mean() < 0.7 * np.abs(raw - clean).mean()
    assert (mended.argmax(1) == clean.argmax(1)).mean() > (raw.argmax(1) == clean.argmax(1)).mean() + 0.05


def test_what_the_device_does_alone_is_stated_beside():
    facts = hardened().facts(pipeline(hardened(), trained("embedding"))._head(sentences().private.inputs))
    assert facts["same_answer_denoised"] > facts["same_answer_as_sent"]
    assert 0.5 < facts["same_answer_by_the_device_alone"] <= 1


def test_a_batch_of_several_lengths_is_mended_as_each_sentence_alone():
    defense = hardened()
    ids = sentences().private.inputs
    with torch.no_grad():
        smashed = trained("embedding").head(torch.from_numpy(ids)).numpy()
    sent = smashed * 1.5
    together = defense.mend(tail(sent), smashed, sent)
    for i in range(4):
        n = int((ids[i] != 0).sum())
        one = defense.mend(tail(sent[i : i + 1, :n]), smashed[i : i + 1, :n], sent[i : i + 1, :n])
        np.testing.assert_allclose(one[0], together[i], rtol=1e-3, atol=1e-3)


def test_an_answer_is_mended_in_a_chain_and_nothing_is_at_noise_zero():
    chain = hardened().then(GaussianNoise(sigma=0.01))
    assert chain.mends
    released = pipeline(chain, trained("embedding")).release(sentences().private.inputs[:1], rng())
    assert released.mend is not None
    answer = np.zeros((1, 2), np.float32)
    assert released.mend(answer).shape == (1, 2)
    assert released.mend(answer).any()
    off = SplitNDenoise(noise=0.0)
    assert not off.mends
    assert off.harden(trained(), sentences(), seed=0) is trained()
    assert pipeline(off, trained("embedding")).release(sentences().private.inputs[:1], rng()).mend is None


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ConfigError, match=r"needs a row for each token, .*; cut earlier"):
        SplitNDenoise().harden(trained("mean"), sentences(), seed=0)
    with pytest.raises(ConfigError, match="has no clip yet"):
        SplitNDenoise().protect(np.ones((1, 3, 4), np.float32), rng())
    for options in ({"noise": -1.0}, {"clip": 0.0}, {"hidden": 0}, {"epochs": -1}):
        with pytest.raises(ConfigError, match="must be"):
            SplitNDenoise(**options)
