"""What one side trains: some modules of a model with their optimiser, and both as tensors by name."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from cutlayer.errors import SplitError
from cutlayer.protocols.plan import Optimizer

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Party:
    """The modules of one side, in training mode, with one optimiser that lives as long as the party does.

    The names of parameters and buffers are those of the whole model, wherever it is cut. What is loaded is copied into
    the same objects, so that the optimiser goes on with them.

    Args:
        modules: The modules, on the CPU. No two of them have a name in common.
        optimizer: What the plan says of the optimiser.

    Attributes:
        modules: The modules.
        parameters: The trained parameters by name.
    """

    def __init__(self, modules: Sequence[nn.Module], optimizer: Optimizer) -> None:
        self.modules = tuple(modules)
        self.parameters: dict[str, nn.Parameter] = {}
        self._tensors: dict[str, Tensor] = {}
        for module in self.modules:
            module.train()
            self.parameters.update(module.named_parameters(remove_duplicate=False))
            self._tensors.update(module.state_dict())
        # The optimiser takes each parameter on its own, in single-tensor form: the same bits wherever the model is cut.
        options = {"lr": optimizer.lr, "weight_decay": optimizer.weight_decay, "foreach": False}
        if optimizer.name == "sgd":
            options["momentum"] = optimizer.momentum
        trained = list({id(parameter): parameter for parameter in self.parameters.values()}.values())
        # A cut before the first layer leaves a head without parameters, and torch refuses an optimiser of nothing.
        self._optimizer = OPTIMIZERS[optimizer.name](trained, **options) if trained else None
        draw_by_layer(self.modules)

    def step(self) -> None:
        """Apply the gradients and clear them. A parameter that has none keeps its value and its state."""
        if self._optimizer is not None:
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)

    def clear(self) -> None:
        """Forget the gradients without applying them."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def finite(self) -> bool:
        """Whether all gradients are finite numbers."""
        return are_finite([p.grad for p in self.parameters.values() if p.grad is not None])

    def gradients(self) -> dict[str, Tensor]:
        """The gradients by name, for those parameters that have one."""
        return {name: p.grad for name, p in self.parameters.items() if p.grad is not None}

    def set_gradients(self, gradients: Mapping[str, Tensor]) -> None:
        """Replace the gradients; a parameter that is not named has none."""
        self.clear()
        for name, gradient in gradients.items():
            self.parameters[name].grad = gradient

    def evaluating(self, evaluating: bool = True) -> None:
        """Put the modules in eval mode, or back in training mode."""
        for module in self.modules:
            module.train(not evaluating)

    def weights(self) -> dict[str, Tensor]:
        """Copies of the parameters and buffers by name."""
        return {name: tensor.detach().clone() for name, tensor in self._tensors.items()}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Copy weights into the parameters and buffers of those names; the others stay.

        Raises:
            SplitError: A name is not known here, or a tensor has another shape or type.
        """
        copy_into(self._tensors, weights)

    def optimizer_state(self) -> dict[str, Tensor]:
        """Copies of what the optimiser remembers, by the name of the parameter and that of the value: ``fc.bias/step``.

        A position says nothing about the tensor that it belongs to; a name does.
        """
        state = self._optimizer.state if self._optimizer is not None else {}
        return {
            f"{name}/{slot}": value.detach().clone()
            for name, parameter in self.parameters.items()
            for slot, value in state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def load_optimizer(self, state: Mapping[str, Tensor]) -> None:
        """Make the optimiser remember this for the parameters that are named, and nothing for the others.

        Raises:
            SplitError: A name is not known here, or a value does not fit its parameter.
        """
        self.reset()
        for key, value in state.items():
            name, _, slot = key.rpartition("/")
            parameter = self.parameters.get(name)
            if parameter is None or self._optimizer is None:
                raise SplitError(f"The optimiser's state names {name!r:.120}, which this side does not train.")
            if value.dim() and value.shape != parameter.shape:
                raise SplitError(
                    f"The optimiser's {slot!r:.40} of {name} has the shape {tuple(value.shape)}, which is not that of "
                    f"the parameter, {tuple(parameter.shape)}."
                )
            self._optimizer.state[parameter][slot] = value.clone()

    def reset(self) -> None:
        """Forget what the optimiser remembers, as a new one would."""
        if self._optimizer is not None:
            self._optimizer.state.clear()


def copy_into(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy values into the tensors of the same names, in place; nothing is copied where one does not fit.

    Raises:
        SplitError: A name is not known, or a value has another shape or type.
    """
    for name, value in values.items():
        known = tensors.get(name)
        if known is None:
            raise SplitError(f"There are weights for {name!r:.120}, which this side does not have; compare the cuts.")
        if known.shape != value.shape or known.dtype != value.dtype:
            raise SplitError(
                f"The weights of {name} have shape {tuple(value.shape)} and type {value.dtype}, not "
                f"{tuple(known.shape)} and {known.dtype}; compare the models."
            )
    with torch.no_grad():
        for name, value in values.items():
            tensors[name].copy_(value)


def digest(weights: Mapping[str, Tensor]) -> str:
    """16 hex digits over names, shapes and values: two parties that begin with the same model have the same ones."""
    sha256 = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().contiguous()
        sha256.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        sha256.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()[:16]


def are_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether all elements are finite numbers."""
    # A sum takes one pass and no memory; it may overflow where the elements do not.
    if not tensors or math.isfinite(torch.stack([tensor.sum() for tensor in tensors]).sum().item()):
        return True
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def draw_by_layer(modules: Sequence[nn.Module]) -> None:
    """Make each dropout layer draw from a counter of its own: that of the forward pass, with the name of the layer.

    Otherwise the mask of a layer would depend on what other layers of the same half drew before it, and thereby on
    where the model is cut.
    """
    for module in modules:
        for name, layer in module.named_modules():
            if isinstance(layer, _DropoutNd) and not hasattr(layer, "drawn_as"):
                layer.drawn_as = name
                layer.register_forward_pre_hook(_draw_anew)


_HALF = (1 << 32) - 1


def _draw_anew(layer: nn.Module, inputs: object) -> None:
    if layer.training:
        word = zlib.crc32(str(layer.drawn_as).encode())
        # Only the low half of the seed changes, so that the next layer knows the counter of the pass still.
        high = torch.initial_seed() & ~_HALF
        torch.default_generator.manual_seed(high | ((high >> 32) ^ word) & _HALF)


def use_threads(threads: int) -> None:
    """Let torch compute with so many threads in this thread, as the results depend on their number."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
