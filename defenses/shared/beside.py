"""A defense whose decoder learns beside the head: in `harden`, or while the head trains with a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cutlayer.defenses.base import Defense

if TYPE_CHECKING:
    from torch import Tensor

    from cutlayer.defenses.shared.surrogate import Surrogate


@dataclass(kw_only=True)
class LearnsBeside(Defense):
    """Base of the defenses that train against a decoder of their own, whose name is their option `decoder`.

    In a training with a server each client has such a decoder. It begins untrained, with the same weights at every
    client, and learns from each batch before the head does.
    """

    _surrogate: Surrogate | None = field(init=False, repr=False, compare=False, default=None)
    _kept: dict[str, Any] = field(init=False, repr=False, compare=False, default_factory=dict)
    _batches: int = field(init=False, repr=False, compare=False, default=0)

    def beside(self, inputs: Tensor, smashed: Tensor, measure: str = "ssim") -> tuple[Surrogate, int]:
        """The decoder of a training with a server, and the number of batches that it has seen before this one."""
        from cutlayer.defenses.shared.surrogate import Surrogate

        if self._surrogate is None:
            shapes = tuple(smashed.shape[1:]), tuple(inputs.shape[1:])
            self._surrogate = Surrogate(self.decoder, *shapes, 0, smashed.device, measure)
            if self._kept:
                self._surrogate.load(self._kept)
        self._batches += 1
        return self._surrogate, self._batches - 1

    def training_state(self) -> dict[str, Any]:
        """See the base."""
        import torch

        if self._surrogate is None:
            return dict(self._kept)
        return {**self._surrogate.state(), "batches": torch.tensor(self._batches)}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """See the base."""
        self._surrogate, self._kept = None, {key: value for key, value in state.items() if key != "batches"}
        self._batches = int(state.get("batches", 0))
