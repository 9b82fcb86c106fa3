"""Tensors to bytes and back with the codec of the plan; what the codec lost is a state if the plan says so."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutlayer.errors import DecodeError
from cutlayer.wire.codecs.base import Encoded, as_array, as_bytes
from cutlayer.wire.codecs.packed import codec_named, decode


class Coding:
    """One direction of one kind of tensor: smashed data up, or gradients down.

    With error feedback, what the codec lost of an element is added to the next tensor that is sent from the same place:
    that of a sample in the data of the client, or that in the batch (Seide et al., "1-Bit Stochastic Gradient Descent",
    Interspeech 2014).

    Args:
        name: The codec, as on a command line.
        feedback: Whether to use error feedback.
    """

    def __init__(self, name: str, feedback: bool = False) -> None:
        self._codec, self._feedback = codec_named(name), feedback and name != "raw"
        self.residual: Tensor | None = None

    def encode(self, tensor: Tensor, places: NDArray[np.intp] | None = None, among: int = 0) -> Encoded:
        """The bytes of ``(N, ...)`` float32, which may share the memory of the tensor.

        Args:
            tensor: What to send.
            places: The place of each row among `among` of them; its place in the batch if absent.
            among: The number of places.
        """
        tensor = tensor.detach().contiguous()
        if not self._feedback:
            return self.plain(tensor)
        rows = torch.arange(len(tensor)) if places is None else torch.from_numpy(np.asarray(places, np.int64))
        needed = max(among, len(tensor))
        if self.residual is None:
            self.residual = torch.zeros(needed, *tensor.shape[1:])
        elif len(self.residual) < needed:
            self.residual = torch.cat([self.residual, torch.zeros(needed - len(self.residual), *tensor.shape[1:])])
        wanted = tensor + self.residual[rows]
        encoded = self._codec.encode(wanted.numpy())
        self.residual[rows] = wanted - decoded(encoded)
        return encoded

    def plain(self, tensor: Tensor) -> Encoded:
        """The bytes of a tensor whose losses are not made good: test data, which are sent once."""
        return self._codec.encode(tensor.detach().contiguous().numpy())


def decoded(encoded: Encoded) -> Tensor:
    """The float32 tensor that was sent, in memory of its own.

    Its memory begins at a multiple of 64 bytes, as that of every tensor: matrix products may round otherwise where it
    does not, and bytes that arrived from a network begin anywhere.

    Raises:
        DecodeError: The bytes do not match their description.
    """
    array = decode(encoded)
    if array.dtype != np.float32:
        raise DecodeError(f"Smashed data and gradients are float32 once decoded; these are {array.dtype}.")
    tensor = torch.empty(array.shape)
    np.copyto(tensor.numpy(), array)
    return tensor


def encoded_labels(labels: Tensor) -> Encoded:
    """The bytes of labels ``(N,)`` int64."""
    datatype, data = as_bytes(labels.numpy())
    return Encoded(datatype, tuple(labels.shape), data, {"codec": "raw"})


def decoded_labels(encoded: Encoded, n: int, classes: int) -> Tensor:
    """The labels that were sent.

    Raises:
        DecodeError: They are not `n` numbers, or one is no class.
    """
    array = as_array(encoded, "INT64")
    if array.shape != (n,):
        raise DecodeError(f"There are labels of shape {array.shape} for {n} samples; send one label for each.")
    # As an unsigned number a negative one is greater than all classes.
    if n and array.view(np.uint64).max() >= classes:
        raise DecodeError(
            f"A label lies between 0 and {classes - 1}; the labels go from {array.min()} to {array.max()}."
        )
    return torch.from_numpy(array.copy())
