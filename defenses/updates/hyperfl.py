"""HyperFL: a hypernetwork gives the weights of the feature extractor, and only the hypernetwork's weights are shared.

P. Guo, S. Zeng, W. Chen, X. Zhang, W. Ren, Y. Zhou, L. Qu, "A New Federated Learning Framework Against Gradient
Inversion Attacks", AAAI 2025, https://arxiv.org/abs/2412.07187. With an embedding v of each client, weights
``theta = h(v; phi)`` and a classifier of the client's own, the update is that of phi alone, which is to "break the
direct connection between the shared parameters and the local private data".

Threat model: a curious server rebuilds the samples of an update. The last layer of the hypernetwork is
``theta = A e + b``, so that by the chain rule ``dL/db = dL/dtheta``: the gradient of the weights that were to be hidden
is a part of the update, as it stands. `Generated.gradient_of_weights` reads it, the attack ``through-hypernetwork``
hands it to any other; neither needs the client's embedding or classifier.

Differs from the paper:
    - The hypernetwork is an embedding, one layer with ReLU, and one linear layer for each tensor of weights; b begins
      with the model's own weights, so that the model computes the same as before.
    - The client's classifier is the last linear layer. It and the embedding are not trained. They are buffers of the
      model that are no part of its state, and so of nothing that is sent; an attacker to whom a view grants the model
      could read them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cutlayer.defenses.updates.base import UpdateDefense
from cutlayer.errors import ConfigError
from cutlayer.options import Size, Within

if TYPE_CHECKING:
    from cutlayer.spec import TensorSpec

_SPREAD = 0.01


@dataclass(kw_only=True)
class HyperFL(UpdateDefense):
    """Train a hypernetwork that gives the weights of all layers but the last, which stays with the client.

    Args:
        hidden: Width of the hypernetwork; 0 leaves the model as it is.
        embedding: Numbers in the embedding of a client.
    """

    knob = "hidden"
    plain_words = "shares a network that gives the weights, in place of the weights"

    hidden: Annotated[int, Within(0, 65_536)] = 100
    embedding: Size = 64

    def rebuilt(self, model: nn.Module, input: TensorSpec, classes: int) -> nn.Module:
        """See the base. The new weights are drawn from torch's generator.

        Raises:
            ConfigError: The model has no linear layer that could stay with the client.
        """
        return Generated(model, self.embedding, self.hidden) if self.on else model


class Generated(nn.Module):
    """A model whose weights, but those of its last linear layer, are the outputs of a hypernetwork.

    Args:
        model: The model; its parameters become buffers.
        embedding: Numbers in the embedding.
        hidden: Width of the hypernetwork.

    Raises:
        ConfigError: The model has no linear layer.
    """

    def __init__(self, model: nn.Module, embedding: int, hidden: int) -> None:
        super().__init__()
        linear = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise ConfigError("HyperFL keeps a model's last linear layer with the client; this model has none.")
        weights = {name: p.detach() for name, p in model.named_parameters()}
        as_buffers(model)
        self.model = model
        self.register_buffer("embedding", torch.randn(embedding), persistent=False)
        self.layer = nn.Linear(embedding, hidden)
        self.heads = nn.ModuleDict()
        for name, value in weights.items():
            if name.rpartition(".")[0] != linear[-1]:
                head = nn.Linear(hidden, value.numel())
                nn.init.normal_(head.weight, std=_SPREAD / hidden**0.5)
                head.bias.data.copy_(value.flatten())
                self.heads[name.replace(".", "/")] = head

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs to logits."""
        logits: Tensor = functional_call(self.model, self.weights(), (inputs,))
        return logits

    def weights(self) -> dict[str, Tensor]:
        """The weights that the hypernetwork gives, by their names in the model."""
        hidden = self.layer(self.embedding).relu()
        return {name: head(hidden).view(self.model.get_buffer(name).shape) for name, head in self._named_heads()}

    def gradient_of_weights(self, update: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gradient of the weights that an update of the hypernetwork holds, by their names in the model."""
        return {
            name: update[f"heads.{name.replace('.', '/')}.bias"].view(self.model.get_buffer(name).shape)
            for name, _ in self._named_heads()
        }

    def _named_heads(self) -> list[tuple[str, nn.Linear]]:
        return [(key.replace("/", "."), cast(nn.Linear, head)) for key, head in self.heads.items()]


def as_buffers(model: nn.Module) -> None:
    """Turn every parameter of a model into a buffer of the same name, which is no part of the model's state."""
    for module in model.modules():
        for name, p in [*module.named_parameters(recurse=False)]:
            delattr(module, name)
            module.register_buffer(name, p.detach().clone(), persistent=False)
