"""What a client looks for in the model that it is sent, before it computes an update with it.

A server that wants the samples may send another model than was agreed: with a layer in front that sorts samples
(`cutlayer.attacks.gradients.imprint`), or with weights set so that each row answers to one sample. The first is a
difference of structure, and the second leaves rows that equal each other, which training does not make.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

REPEATED, ALIKE = 0.5, 1 - 1e-5
"""Share of the rows of a layer that may equal another one in direction, and the cosine from which two are equal."""
FEW = 4
"""Rows of a layer below which repetition says nothing."""


def faults(agreed: nn.Module, received: nn.Module) -> list[str]:
    """Sentences on what is wrong with a model that a server has sent; none where all is well.

    Args:
        agreed: A model of the architecture that was agreed on, with any weights.
        received: The model that came.
    """
    return [*structure(agreed, received), *repeated_rows(dict(received.named_parameters()))]


def structure(agreed: nn.Module, received: nn.Module) -> list[str]:
    """Sentences on layers and parameters that were not agreed on, or are missing, or are of another shape."""
    before, after = ({n: tuple(p.shape) for n, p in model.named_parameters()} for model in (agreed, received))
    found = [f"The model has a parameter {n} that was not agreed on." for n in after if n not in before]
    found += [f"The model lacks the parameter {n}." for n in before if n not in after]
    found += [
        f"The parameter {n} has the shape {after[n]}, and {shape} was agreed on."
        for n, shape in before.items()
        if after.get(n, shape) != shape
    ]
    kinds = [
        [type(layer).__name__ for layer in model.modules() if not [*layer.children()]] for model in (agreed, received)
    ]
    if not found and kinds[0] != kinds[1]:
        found.append("The model has the parameters that were agreed on, and other layers.")
    return found


def repeated_rows(weights: Mapping[str, Tensor]) -> list[str]:
    """Sentences on layers of which most rows have the direction of another row.

    Args:
        weights: Parameters by name; those with two axes and more are looked at.
    """
    found = []
    for name, value in weights.items():
        if value.dim() < 2 or len(value) < FEW:
            continue
        rows = value.detach().flatten(1).double()
        rows = rows[rows.norm(dim=1) > 0]
        if len(rows) < FEW or rows.shape[1] < 2:
            continue
        rows = rows / rows.norm(dim=1, keepdim=True)
        cosines = rows @ rows.T
        cosines.fill_diagonal_(0)
        share = float((cosines.abs() >= ALIKE).any(1).double().mean())
        if share > REPEATED:
            found.append(
                f"{share:.0%} of the rows of {name} have the direction of another row: such a layer sorts samples, "
                "and its gradient gives single ones away."
            )
    return found
