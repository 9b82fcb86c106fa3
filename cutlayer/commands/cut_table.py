"""The cuts of a model as the terminal shows them."""

from collections.abc import Iterator, Sequence

from cutlayer.models.cut import Cut
from cutlayer.spec import TensorSpec


def table(model: str, input: TensorSpec, cuts: Sequence[Cut]) -> Iterator[str]:
    """A line for each cut, after one for the model and one of titles."""
    yield f"{model} for {input} images, {input.nbytes:,} bytes each"
    width = max([32, *(len(cut.name) for cut in cuts)])
    yield f"{'cut':{width}} {'smashed':>14} {'bytes':>12} {'of input':>9} {'head params':>12} {'head MACs':>14}"
    for cut in cuts:
        shape = "x".join(map(str, cut.shape))
        ratio = cut.nbytes / input.nbytes
        yield f"{cut.name:{width}} {shape:>14} {cut.nbytes:>12,} {ratio:>8.2f}x {cut.params:>12,} {cut.macs:>14,}"
