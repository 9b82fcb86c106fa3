from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from cutlayer.data.modality import tokens
from cutlayer.data.splits import Splits
from cutlayer.defenses.sanitize_text import SanitizeText
from cutlayer.errors import ConfigError
from cutlayer.models.halves import SplitModel, split
from cutlayer.models.zoo import build
from cutlayer.sequences import PAD
from cutlayer.spec import image_spec
from tests.defenses.sentences import VOCABULARY, sentences, trained
from tests.defenses.victims import rng, shades


def hardened(**options) -> tuple[SanitizeText, SplitModel]:
    defense = SanitizeText(**{"epochs": 0, **options})
    return defense, defense.harden(trained(), sentences(), seed=0)


def law(defense: SanitizeText) -> np.ndarray:
    """P(y | x) by the formula of the paper, from the vectors that were learned: ``(V, V)``, without padding."""
    vectors = defense.learned["vectors"].astype(np.float64)
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    odds = np.exp(-distances / (2 * defense.noise)) * defense.learned["sensitive"]
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_tokens_are_drawn_by_the_law_of_the_paper(noise):
    defense, _ = hardened(noise=noise)
    for token in (1, 17, VOCABULARY - 1):
        drawn = np.bincount(defense.rewrite(np.full((1, 4000), token), rng(token)).ravel(), minlength=VOCABULARY)
        expected = law(defense)[token] * 4000
        often = expected >= 5
        assert (
            chisquare([*drawn[often], 1 + drawn[~often].sum()], [*expected[often], 1 + expected[~often].sum()]).pvalue
            > 1e-3
        )


def test_no_two_tokens_are_told_apart_by_more_than_epsilon_times_their_distance():
    defense, _ = hardened(noise=0.1)
    vectors = defense.learned["vectors"].astype(np.float64)
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    logs = np.log(law(defense)[1:, 1:])
    apart = np.abs(logs[:, None] - logs[None, :]).max(axis=2)
    assert (apart <= distances[1:, 1:] / defense.noise + 1e-9).all()
    facts = defense.facts(np.zeros((2, 7, 4), np.float32))
    assert apart.max() <= facts["epsilon_of_a_token_at_most"]
    assert facts["epsilon_after_4"] == pytest.approx(4 * 7 * facts["epsilon_of_a_token_at_most"])
    off_diagonal = distances[1:, 1:][~np.eye(VOCABULARY - 1, dtype=bool)]
    assert np.sqrt((off_diagonal**2).mean()) == pytest.approx(1, rel=0.02), "noise is in units of this"


def test_the_share_that_stays_is_as_stated():
    defense, _ = hardened(noise=0.15)
    ids = sentences().private.inputs
    stayed = np.mean([(defense.rewrite(ids, rng(i)) == ids)[ids != PAD].mean() for i in range(40)])
    assert stayed == pytest.approx(defense.facts(np.zeros((2, 7, 4), np.float32))["kept_share"], abs=0.03)
    assert 0.1 < stayed < 0.9


def test_padding_and_marks_stay_and_nothing_becomes_one():
    data = sentences()
    marked = (replace(part, modality=tokens(VOCABULARY, (1, 2))) for part in data.parts.values())
    defense = SanitizeText(noise=10.0, epochs=0)
    defense.harden(trained(), Splits(data.name, data.classes, *marked), seed=0)
    sent = defense.rewrite(np.tile(np.arange(VOCABULARY), (200, 1)), rng())
    assert (sent[:, :3] == [0, 1, 2]).all()
    assert sent[:, 3:].min() > 2
    assert len(np.unique(sent[:, 3:])) == VOCABULARY - 3


def test_of_tokens_that_are_not_sensitive_only_a_share_is_replaced_and_by_sensitive_ones():
    defense, _ = hardened(noise=10.0, sensitive=0.5, replaced=0.3)
    own, counts = defense.learned["sensitive"], np.bincount(sentences().train.inputs.ravel(), minlength=VOCABULARY)
    assert own.sum() == round(0.5 * (VOCABULARY - 1))
    assert counts[own].max() <= counts[1:][~own[1:]].min(), "the rarest tokens are the sensitive ones"
    usual = np.flatnonzero(~own)[1:]
    sent = defense.rewrite(np.tile(usual, (300, 1)), rng())
    changed = sent != usual
    assert changed.mean() == pytest.approx(0.3, abs=0.02)
    assert own[sent[changed]].all()
    facts = defense.facts(np.zeros((2, 7, 4), np.float32))
    assert "epsilon_after_1" not in facts, "a token that is not sensitive has no epsilon"


def test_training_on_sanitized_text_wins_back_accuracy():
    data = sentences().test

    def accuracy(defense: SanitizeText, halves: SplitModel) -> float:
        import torch

        with torch.no_grad():
            logits = halves.tail(halves.head(torch.from_numpy(defense.rewrite(data.inputs, rng()))))
        return float((logits.argmax(1).numpy() == data.labels).mean())

    untrained, behind = (accuracy(*hardened(noise=0.12, epochs=epochs)) for epochs in (0, 4))
    assert behind >= untrained - 0.02
    assert hardened(noise=0.12, epochs=2)[0].further_epochs == 2


def test_a_head_without_tokens_and_a_device_without_vectors_are_refused():
    image = image_spec(1, 16, 16)
    with pytest.raises(ConfigError, match="none of 2 tokens; cut behind the embedding"):
        SanitizeText().harden(split(build("he_lenet", image, 2, 0), "ReLU1", image), shades(), seed=0)
    with pytest.raises(ConfigError, match="has no embeddings yet"):
        SanitizeText().rewrite(np.ones((1, 3), np.int64), rng())
    for options in ({"noise": -1.0}, {"sensitive": 0.0}, {"replaced": 1.5}, {"epochs": -1}):
        with pytest.raises(ConfigError, match="must be"):
            SanitizeText(**options)
