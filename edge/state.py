"""Tensors of a split beside image, smashed data and logits, on the device: recurrent state, and what is sent along."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError
from cutlayer.models.manifest import Manifest
from cutlayer.tensors import join, parts, zeros
from cutlayer.wire.codecs.base import Buffer, as_bytes


class State:
    """The state that a device keeps from one request to the next. A split without `Ends` has none.

    Args:
        manifest: Manifest of the split.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._ends, self._image = manifest.ends, next(iter(manifest.data_inputs))
        self._kept: dict[str, NDArray[Any]] = {}

    def joined_to(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return a batch together with the state of the request before.

        Raises:
            ConfigError: The batch has another number of samples than the one before.
        """
        if self._ends is None:
            return inputs
        given = parts(inputs, self._image)
        for name in self._ends.state:
            kept = self._kept.get(name)
            if kept is None:
                kept = zeros((self._ends.head | self._ends.tail)[name], len(inputs))
            if len(kept) != len(inputs):
                raise ConfigError(
                    f"The state of the request before is of {len(kept)} samples, and this one has {len(inputs)}; make "
                    "requests of one size, or connect again."
                )
            given[name] = kept
        return join(given)

    def take(self, outputs: NDArray[Any] | None) -> None:
        """Keep what these outputs of a half say of the state."""
        if self._ends is None or outputs is None or not self._ends.state:
            return
        names = outputs.dtype.names or ()
        for name, output in self._ends.state.items():
            if output in names:
                self._kept[name] = np.array(outputs[output])

    def beside(self, inputs: NDArray[Any]) -> list[Buffer]:
        """Return the bytes of what is sent beside the smashed data, from a batch that has its state."""
        if self._ends is None:
            return []
        given = parts(inputs, self._image)
        return [as_bytes(given[name].astype(spec.dtype, copy=False))[1] for name, spec in self._ends.tail.items()]

    def all_outputs(self, answer: NDArray[Any], kept: NDArray[Any] | None) -> NDArray[Any]:
        """Return an answer together with the outputs that the head has computed."""
        if self._ends is None or not self._ends.kept or kept is None:
            return answer
        return join({name: kept[name] for name in self._ends.kept} | parts(answer, ""))
