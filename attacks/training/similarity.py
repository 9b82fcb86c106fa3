"""Clusters of gradients or smashed data are classes.

J. Liu, X. Lyu, Q. Cui, X. Tao, "Similarity-based Label Inference Attack against Training and Inference of Split
Learning", IEEE TIFS 2024: k-means over the gradients, or over the smashed data, where it also works when nothing is
trained any more. A few known labels say which cluster is which class.

Threat model: the party that sent the smashed data, which knows the labels of a few samples.
"""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from cutlayer.attacks.training.base import LabelAttack, LabelView
from cutlayer.errors import ConfigError

OF = ("gradients", "smashed")


@dataclass(kw_only=True)
class Similarity(LabelAttack):
    """Cluster the samples by k-means on the unit sphere, and give each cluster the class of the known sample nearest.

    Args:
        of: What is clustered: ``gradients`` or ``smashed``.
    """

    plain_words = "groups the gradients into clusters, and names each after a known sample"

    of: str = "gradients"

    def __post_init__(self) -> None:
        if self.of not in OF:
            raise ConfigError(f"similarity.of must be one of {', '.join(OF)}; {self.of!r:.80} was given.")

    def infer(self, view: LabelView) -> Tensor:
        """See the base; the score of a class is the cosine with the nearest center that has its name."""
        if {*view.known.values()} != {*range(view.classes)}:
            raise ConfigError(f"similarity needs a known sample of each of the {view.classes} classes.")
        rows = view.rows if self.of == "gradients" else torch.cat([smashed.flatten(1) for smashed in view.smashed])
        unit = functional.normalize(rows, dim=1)
        clusters = KMeans(view.classes, n_init=4, random_state=view.seed).fit(unit.cpu().numpy())
        centers = functional.normalize(torch.from_numpy(clusters.cluster_centers_.astype(np.float32)), dim=1)
        cosines = unit @ centers.to(unit.device).T
        samples = list(view.known)
        names = torch.tensor([view.known[sample] for sample in samples], device=unit.device)
        of_center = names[cosines[samples].argmax(0)]
        scores = torch.full((len(unit), view.classes), -2.0, device=unit.device)  # below every cosine
        for center, label in enumerate(of_center.tolist()):
            scores[:, label] = torch.maximum(scores[:, label], cosines[:, center])
        return scores
