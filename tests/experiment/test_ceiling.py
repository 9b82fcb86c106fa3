"""No attack exceeds the ceiling of a defense that adds noise, and one that cheats is found out."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from cutlayer.attacks.base import Attack
from cutlayer.attacks.features.averaging import Averaging
from cutlayer.attacks.features.nearest import Nearest
from cutlayer.attacks.features.ridge import Ridge
from cutlayer.attacks.features.watch_list import WatchList
from cutlayer.attacks.view import SMASHED, Access, View
from cutlayer.data.splits import Dataset, Splits
from cutlayer.defenses.base import Chain, Defense
from cutlayer.defenses.cem import Cem
from cutlayer.defenses.certified_noise import CertifiedNoise
from cutlayer.defenses.dropout import Dropout
from cutlayer.defenses.gaussian_noise import GaussianNoise
from cutlayer.defenses.laplace_noise import LaplaceNoise
from cutlayer.defenses.local_dp import LocalDP
from cutlayer.defenses.mid import Mid
from cutlayer.defenses.quantize import Quantize
from cutlayer.experiment import adversary
from cutlayer.experiment.flags import flags
from cutlayer.experiment.spec import Experiment, Measure
from cutlayer.models.halves import SplitModel, split
from cutlayer.models.zoo import build
from cutlayer.privacy.ceiling import ceiling
from cutlayer.privacy.score import Chosen
from cutlayer.privacy.view import oracle, view
from cutlayer.records.run import Passed, Spectrum
from cutlayer.spec import image_spec
from cutlayer.tables import Named
from tests.attacks.victims import smooth_images

N_PRIVATE, N_RELEASES, IMAGE = 40, 4, image_spec(1, 16, 16)
ADDITIVE = [
    GaussianNoise(sigma=0.06),
    LaplaceNoise(scale=0.04),
    LocalDP(noise=0.05, clip=0.8, epochs=0),
    LocalDP(noise=0.002, clip=10.0, mechanism="laplace", epochs=0),
    Mid(epochs=0),
    Cem(sigma=0.2, bound="tanh", weight=0.0, epochs=0),
    CertifiedNoise(sigma=0.5, numbers=16, epochs=1),
    GaussianNoise(sigma=0.05).then(Quantize(bits=3)),
    GaussianNoise(sigma=0.05).then(Dropout(rate=0.3)),
    GaussianNoise(sigma=0.05).then(LaplaceNoise(scale=0.03)),
    GaussianNoise(sigma=0.05).then(GaussianNoise(sigma=0.03)),
    Quantize(bits=4).then(GaussianNoise(sigma=0.06)),
]


@dataclass(kw_only=True)
class Bayes(Attack):
    """The attacker of the ceiling: holds the candidates, the head and the density."""

    candidates: Tensor

    @property
    def needs(self) -> Access:
        return Access.WHITE_BOX

    def fit(self, view: View) -> None:
        with torch.inference_mode():
            self._density = view.defense.density(view.head(self.candidates))

    def invert(self, smashed: Tensor) -> Tensor:
        weights = self._density.log_density(smashed).softmax(1).float()
        return (weights @ self.candidates.flatten(1)).reshape(-1, *self.candidates.shape[1:]).clamp(0, 1)


@dataclass(kw_only=True)
class Cheat(Attack):
    """Holds the private images, in their order."""

    private: Tensor

    def invert(self, smashed: Tensor) -> Tensor:
        return self.private


def data() -> Splits:
    parts = [smooth_images(n, seed, IMAGE.shape).numpy() for seed, n in ((1, 200), (2, 300), (3, 120), (4, 10))]
    return Splits("made", ("one",), *(Dataset(images, np.zeros(len(images), np.int64)) for images in parts))


def deployed(defense: Defense) -> SplitModel:
    victim = split(build("he_lenet", IMAGE, 2, seed=0), "pool2", IMAGE)
    return defense.harden(victim, data(), seed=0)


def attacked(halves: SplitModel, defense: Defense, attacks: list[Attack], tmp_path):
    """The rows of attacks on releases of the private images, the ceiling, and the flags they raise."""

    def head(images):
        with torch.inference_mode():
            return halves.head(torch.from_numpy(images)).numpy()

    def wire(images, rng=np.random.default_rng(5)):  # noqa: B008
        return defense.protect(head(images), rng)

    splits = data()
    seen = view(
        Access.WHITE_BOX, input=IMAGE, smashed=halves.smashed, auxiliary=splits.auxiliary, defense=defense,
        query=oracle(wire), head=halves.head, tail=halves.tail, device=torch.device("cpu"),
    )  # fmt: skip
    private = splits.private.inputs[:N_PRIVATE]
    released = {"zmq-onnx": {SMASHED: np.stack([wire(private) for _ in range(N_RELEASES)])}}
    named = [(Named("mean-image", {"of": repr(attack)}), attack) for attack in attacks]
    achieved, failed = adversary.attack_all(
        named, lambda *_: seen, released, splits, Chosen(), tmp_path, lambda text: None
    )
    assert not failed
    bound = ceiling(defense, head, splits, N_PRIVATE, seed=0)
    experiment = Experiment("digits", "resnet20", "layer1", measure=Measure(private=N_PRIVATE))
    flat = Spectrum(2, 16, 1.0, head=Passed(16, 10, 1), undefended=Passed(16, 10, 1))
    raised = {flag.flag for flag in flags(experiment, achieved, splits, defense, flat, bound)}
    return achieved.rows, bound, "above-the-ceiling" in raised


@pytest.mark.parametrize("defense", ADDITIVE, ids=repr)
def test_no_attack_exceeds_the_ceiling_of_noise_and_the_best_one_comes_near(defense, tmp_path):
    candidates = torch.from_numpy(data().private.inputs)
    attacks = [Ridge(), Nearest(), Averaging(attack="ridge", n_releases=N_RELEASES), Bayes(candidates=candidates)]
    attacks += [WatchList(likelihood=True), WatchList(n_releases=N_RELEASES, n_queries=16)]
    rows, bound, above = attacked(deployed(defense), defense, attacks, tmp_path)
    assert not above
    first = bound.at[0]
    assert first.identified.value < 0.97, "a noise at which nothing can be shown"
    assert max(row.leakage_gain.value for row in rows[:3]) <= bound.over(N_RELEASES).leakage_gain.high
    bayes = rows[3].leakage_gain
    assert bayes.low <= first.leakage_gain.high
    if not isinstance(defense, Chain):
        assert bayes.high >= first.leakage_gain.low


def test_an_attack_that_cheats_is_above_the_ceiling(tmp_path):
    defense = GaussianNoise(sigma=0.5)
    private = torch.from_numpy(data().private.inputs[:N_PRIVATE])
    assert attacked(deployed(defense), defense, [Cheat(private=private)], tmp_path)[2]
