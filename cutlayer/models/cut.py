"""One place where a model can be cut, of a torch model or of an ONNX file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from cutlayer.errors import SplitError, near
from cutlayer.spec import TensorSpec


@dataclass(frozen=True)
class Cut:
    """One place where the model can be cut.

    Attributes:
        name: Path of the innermost module whose output is sent, ``features.7`` or ``layer1.0``, or the torch.fx node
            where no module ends; in an ONNX file, the tensor.
        aliases: Further names of the cut: outer modules that end here too, and the node.
        smashed: The tensor that is sent for one sample.
        params: Number of parameters of the head.
        macs: Multiply-accumulates of the head for one sample, in convolutions and matrix products.
        uncounted: Operators of the head that `macs` leaves out because nothing is known of them, each once.
    """

    name: str
    aliases: tuple[str, ...]
    smashed: TensorSpec
    params: int
    macs: int
    uncounted: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the smashed data, without the batch axis."""
        return self.smashed.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the smashed data of one sample, uncompressed."""
        return self.smashed.nbytes


AnyCut = TypeVar("AnyCut", bound=Cut)


def find_cut(cuts: Iterable[AnyCut], name: str) -> AnyCut:
    """The cut of that name, or else of that alias.

    Raises:
        SplitError: There is no such cut; the message lists similar names.
    """
    names = {cut.name: cut for cut in cuts}
    named = {alias: cut for cut in names.values() for alias in cut.aliases} | names
    if name not in named:
        raise SplitError(f"The model cannot be cut at {name!r}; {near(name, names)}")
    return named[name]
