"""How much each parameter's gradient tells of the samples: the length of its derivative by the inputs.

J. Wang, S. Guo, X. Xie, H. Qi, "Protect Privacy from Gradient Leakage Attack in Federated Learning", INFOCOM 2022
(GradDefense): for each parameter the gradient's numbers are summed up, the sum is derived by the inputs, and the
lengths of that derivative are averaged over the samples.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cutlayer.defenses.updates.base import Local

if TYPE_CHECKING:
    import numpy as np


def sensitivities(local: Local, names: Iterable[str], rng: np.random.Generator, samples: int) -> dict[str, float]:
    """The sensitivity of each named parameter of the client's model.

    Args:
        local: Model and samples; the model is run in evaluation mode, and stays as it is.
        names: Names of parameters.
        rng: Source of the choice of the samples.
        samples: The greatest number of samples that are used.
    """
    import torch
    from torch.nn import functional

    model = copy.deepcopy(local.model).eval()
    chosen = torch.from_numpy(rng.permutation(len(local.inputs))[:samples])
    x = local.inputs[chosen].detach().clone().requires_grad_()
    loss = functional.cross_entropy(model(x), local.labels[chosen])
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = dict(zip(parameters, torch.autograd.grad(loss, [*parameters.values()], create_graph=True), strict=True))
    result = {}
    for name in names:
        total = found[name].sum()
        # The gradient of a last bias, in a model without curvature, may not depend on the inputs.
        (derived,) = torch.autograd.grad(total, x, retain_graph=True, allow_unused=True)
        result[name] = 0.0 if derived is None else float(derived.flatten(1).norm(dim=1).mean())
    return result
