"""Random draws that follow from a counter, and never from a stream that runs on.

What is drawn depends on the seed, on what the draw is for, and on the client, the round and the step, and on nothing
that happened before. Therefore a run over a network draws what a run in one process draws, and a run that goes on from
a checkpoint needs no state of a generator.
"""

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from threading import RLock

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from cutlayer.models.normalize import Normalize

_STILL = {
    Normalize, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.Conv1d, nn.Conv2d, nn.Flatten,
    nn.GELU, nn.GroupNorm, nn.Identity, nn.LayerNorm, nn.LeakyReLU, nn.Linear, nn.MaxPool2d, nn.ReLU, nn.ReLU6,
    nn.Sigmoid, nn.SiLU, nn.Softmax, nn.Tanh,
}  # fmt: skip
_STILL_FUNCTIONS = {
    operator.add, operator.iadd, operator.mul, operator.sub, operator.truediv, operator.getitem, torch.add, torch.cat,
    torch.flatten, torch.mean, torch.mul, torch.relu, torch.sigmoid, functional.adaptive_avg_pool2d,
    functional.avg_pool2d, functional.max_pool2d, functional.pad, functional.relu,
}  # fmt: skip
_STILL_METHODS = {"add", "contiguous", "flatten", "mean", "mul", "relu", "reshape", "size", "view"}
"""Layers, functions and methods of tensors that draw nothing at random."""

_MOST = 1 << 32
"""A greater part of a counter would take two words of the seed sequence, and could equal another counter."""

_torch_draws = RLock()


class Role(IntEnum):
    """What a draw is for. The numbers never change, for the results of a seed follow from them."""

    MODEL = 0
    PARTITION = 1
    SAMPLING = 2
    TURNS = 3
    ORDER = 4
    PROTECT = 5
    DROPOUT = 6
    AUGMENT = 7
    LABELS = 8
    NOISE = 9
    FEATURES = 10
    DETECT = 11
    UPDATE = 12


def generator(seed: int, role: Role, client: int = 0, round: int = 0, step: int = 0) -> np.random.Generator:
    """A generator whose draws follow from these numbers alone; client 0 is the server.

    Raises:
        ValueError: A number is negative, or 2**32 or more.
    """
    counter = [seed, int(role), client, round, step]
    if not all(0 <= part < _MOST for part in counter):
        raise ValueError(f"Each number of a counter is from 0 to 2**32 - 1; {counter} was given.")
    return np.random.default_rng(np.random.SeedSequence(counter))


def computed(module: nn.Module, inputs: Tensor, seed: int, client: int = 0, round: int = 0, step: int = 0) -> Tensor:
    """The output of a module, whose own draws, such as dropout, follow from these numbers alone.

    Where nothing in the module can draw, the generators are left alone: to seed and to restore them takes as long as a
    small layer.
    """
    if "_may_draw" not in module.__dict__:
        module._may_draw = may_draw(module)  # type: ignore[assignment]
    if not module._may_draw:
        output: Tensor = module(inputs)
        return output
    with drawing(seed, Role.DROPOUT, client, round, step):
        output = module(inputs)
    return output


def may_draw(module: nn.Module) -> bool:
    """Whether a forward pass may draw at random: always, but for layers and functions that are known not to."""
    if type(module) in _STILL:
        return False
    if type(module) is nn.Sequential:
        return any(may_draw(layer) for layer in module)
    if not isinstance(module, fx.GraphModule):
        return True
    for node in module.graph.nodes:
        if node.op == "call_module" and may_draw(module.get_submodule(node.target)):
            return True
        if node.op == "call_function" and node.target not in _STILL_FUNCTIONS:
            return True
        if node.op == "call_method" and node.target not in _STILL_METHODS:
            return True
    return False


@contextmanager
def drawing(seed: int, role: Role, client: int = 0, round: int = 0, step: int = 0) -> Iterator[None]:
    """A context in which torch's own draws, such as dropout, follow from these numbers alone.

    The generators of torch belong to the whole process. One thread at a time is in such a context, and the generators
    are restored at its end.
    """
    number = int(generator(seed, role, client, round, step).integers(1 << 63))
    with _torch_draws:
        if torch.cuda.is_initialized():
            with torch.random.fork_rng(range(torch.cuda.device_count()), device_type="cuda"):
                torch.manual_seed(number)
                yield
            return
        # torch.manual_seed would keep a stack trace of each call for a device that may come: 2 ms, and memory.
        state = torch.default_generator.get_state()
        try:
            torch.default_generator.manual_seed(number)
            yield
        finally:
            torch.default_generator.set_state(state)
