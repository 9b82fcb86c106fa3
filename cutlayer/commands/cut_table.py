"""The cuts of a model as a table on the terminal."""

from collections.abc import Sequence

from cutlayer.data.modality import inputs_like
from cutlayer.models.cut import Cut
from cutlayer.report.kit.columns import columns
from cutlayer.spec import TensorSpec


def table(model: str, input: TensorSpec, cuts: Sequence[Cut]) -> str:
    """Return a line for the model, a line of titles, and a line for each cut."""
    rows = [
        [cut.name, "x".join(map(str, cut.shape)), f"{cut.nbytes:,}", f"{cut.nbytes / input.nbytes:.2f}x",
         f"{cut.params:,}", _macs(cut)]
        for cut in cuts
    ]  # fmt: skip
    head = ["cut", "smashed", "bytes", "of input", "head params", "head MACs"]
    return f"{model} for {inputs_like(input)}, {input.nbytes:,} bytes each\n" + columns(head, rows)


def _macs(cut: Cut) -> str:
    """The multiply-accumulates, of which some may not be counted."""
    if not cut.uncounted:
        return f"{cut.macs:,}"
    return f"at least {cut.macs:,}" if cut.macs else "not counted"
