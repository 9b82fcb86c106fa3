"""What the batch normalizations of a network have kept of its training data, compared with what they see now.

Each keeps the mean and the variance of every channel of its input, over all that the network was trained on. H. Yin et
al., "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion", CVPR 2020, https://arxiv.org/abs/1912.08795,
eq. 4, compares them with those of a batch.
"""

from types import TracebackType
from typing import Self

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Norms:
    """The inputs of a network's batch normalizations, which are recorded inside ``with`` and not afterwards.

    Args:
        model: The network; what it computes is not changed.

    Attributes:
        layers: Those of its batch normalizations that keep statistics.
    """

    def __init__(self, model: nn.Module) -> None:
        kept = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.layers = [m for m in kept if m.running_mean is not None]
        self._seen, self._hooks = list[tuple[nn.Module, Tensor]](), list[RemovableHandle]()

    def __enter__(self) -> Self:
        for layer in self.layers:
            self._hooks.append(layer.register_forward_pre_hook(lambda m, args: self._seen.append((m, args[0]))))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._seen.clear()

    def gap(self, first: float = 1.0) -> Tensor:
        """How far the statistics of what passed since the last call are from those that were kept, a scalar.

        Args:
            first: Factor of the first batch normalization; the others have 1.
        """
        total = sum((first if not k else 1.0) * _apart(layer, x) for k, (layer, x) in enumerate(self._seen))
        self._seen.clear()
        assert isinstance(total, Tensor), "nothing has passed a batch normalization"
        return total


def _apart(layer: nn.Module, x: Tensor) -> Tensor:
    """The Euclidean distance of the means, and that of the variances, with a gradient at 0."""
    axes = [0, *range(2, x.ndim)]
    assert isinstance(layer, nn.modules.batchnorm._BatchNorm)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    gaps = x.mean(axes) - layer.running_mean, x.var(axes, unbiased=False) - layer.running_var
    apart: Tensor = sum((gap.square().sum() + 1e-12).sqrt() for gap in gaps)  # type: ignore[assignment]
    return apart
