"""TL-DMI: the first layers are trained on public data alone, and stay as they are.

S.-T. Ho, K. J. Hao, K. Chandrasegaran, N.-B. Nguyen, N.-M. Cheung, "Model Inversion Robustness: Can Transfer Learning
Help?", CVPR 2024: the network is trained on public labelled data of the same domain, its first layers are frozen, and
the others are trained on the private data. Fewer weights then know anything of the private samples. In split learning
that is a public head and a private tail.

In the authors' code (github.com/hosytuyen/TL-DMI @e3495df) a misspelt attribute leaves the input layer of one of the
networks trainable. Here the layers are found by running the network, and their statistics of batch normalization stay
as the public data made them.

Threat model: an attacker with the weights or with scores. No attack is adapted to it; that the first layers are public
helps an attacker who lacks the head (position ``cloud``).

Differs from the paper: the public data are the attacker's own samples (another set of the same domain there), which is
no less favorable to the attacker. Both trainings have the same number of epochs.
Weights that belong to no simple layer, such as the tokens of a transformer, are trained on both.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from cutlayer.defenses.answers.base import AnswerDefense
from cutlayer.errors import ConfigError
from cutlayer.options import Whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cutlayer.data.splits import Dataset


@dataclass(kw_only=True)
class TlDmi(AnswerDefense):
    """Train the first layers on public samples, and the others alone on the victim's.

    Args:
        frozen: Number of convolutions and linear layers, from the input on, that learn from public samples alone, with
            all between them and the next one; 0 for none.
    """

    knob = "frozen"
    plain_words = "trains its first layers on public samples alone"

    frozen: Whole = 2

    def train(
        self, model: nn.Module, data: Dataset, public: Dataset, *, epochs: int, seed: int, lr: float = 2e-3
    ) -> None:
        """See `AnswerDefense`.

        Raises:
            ConfigError: No layer would be left to train, or the public samples have a single class.
        """
        if not self.on:
            return super().train(model, data, public, epochs=epochs, seed=seed, lr=lr)
        import torch
        from torch import nn

        from cutlayer.defenses.surgery.last_layer import last_linear
        from cutlayer.training import loss_of, optimize, train

        input = data.modality.spec(*data.shape)
        name = last_linear(model, input)
        frozen, kept = first_layers(model, input.shape, self.frozen), cast(nn.Linear, model.get_submodule(name))
        known, labels = np.unique(public.labels, return_inverse=True)
        if any(layer is kept for layer in frozen):
            raise ConfigError(f"tl-dmi.frozen = {self.frozen} leaves no layer to train; freeze fewer.")
        if len(known) < 2:
            raise ConfigError("tl-dmi needs public samples of two classes or more.")
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            model.set_submodule(name, nn.Linear(kept.in_features, len(known)))
        train(model, replace(public, labels=labels.astype(np.int64)), epochs=epochs, seed=seed, lr=lr)
        model.set_submodule(name, kept)

        def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            for layer in frozen:
                layer.eval()
            return loss_of(model, images, labels)

        with ExitStack() as after:
            for layer in frozen:
                layer.requires_grad_(False)
                after.callback(layer.requires_grad_, True)
            optimize([model], data, loss, epochs=epochs, seed=seed, lr=lr)


def first_layers(model: nn.Module, shape: tuple[int, ...], n: int) -> list[nn.Module]:
    """The modules that an input passes before the convolution or linear layer number `n`, counted from 0."""
    import torch
    from torch import nn

    passed: list[nn.Module] = []
    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda this, _, __: passed.append(this)) for leaf in leaves]
    mode = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape, device=next(model.parameters()).device))
    model.train(mode)
    for hook in hooks:
        hook.remove()
    weighted = [i for i, leaf in enumerate(passed) if isinstance(leaf, nn.Conv2d | nn.Linear)]
    return passed[: weighted[n]] if n < len(weighted) else passed
