"""Views of small victims, as the runner would build them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cutlayer.attacks.view import SMASHED, Access, View
from cutlayer.data.splits import Dataset
from cutlayer.defenses.base import Defense
from cutlayer.privacy.view import view
from cutlayer.spec import TensorSpec
from tests.attacks.victims import IMAGE, classifier, smooth_images

MakeView = Callable[..., View]


@pytest.fixture
def make_view() -> MakeView:
    """A view of a head and a defense, with the oracle that the runner would build from them."""

    def make(
        head: nn.Module,
        defense: Defense | None = None,
        access: Access = Access.WHITE_BOX,
        n: int = 400,
        sees: str = SMASHED,
    ) -> View:
        defense = defense or Defense()
        rng = np.random.default_rng(7)

        @torch.no_grad()
        def query(images: Tensor) -> Tensor:
            released = defense.protect(head(images), rng)
            # The length of a codec that sends no number near zero.
            return released if sees == SMASHED else (released > 0.1).flatten(1).sum(dim=1, keepdim=True).float()

        images = smooth_images(n, seed=1)
        return view(
            access,
            input=TensorSpec(IMAGE, "float32", 0.0, 1.0),
            smashed=TensorSpec(tuple(query(images[:1]).shape[1:])),
            auxiliary=Dataset(images.numpy(), np.zeros(n, np.int64)),
            query=query,
            defense=defense,
            tail=classifier(int(np.prod(query(images[:1]).shape[1:]))),
            head=head,
            device=torch.device("cpu"),
        )

    return make


@pytest.fixture
def private() -> Tensor:
    """The victims' images, ``(32, 1, 6, 6)``."""
    return smooth_images(32, seed=2)
