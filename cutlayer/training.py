"""Training of a model, or of any part of one behind whatever comes before it.

`optimize` minimizes any loss over the parameters of the modules it is given. `train` minimizes the cross-entropy of the
logits that `forward` computes from a batch. For a whole model `forward` is the model; for a tail behind a noisy, frozen
head it is ``lambda images, rng: tail(defense.protect(head(images), rng))``.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cutlayer.data.splits import NO_CLASS, Dataset
from cutlayer.errors import ConfigError
from cutlayer.machine.compute import autocast, fastest_layout, pick_device, placed
from cutlayer.progress import note, track

Forward = Callable[[Tensor, np.random.Generator], Tensor]
"""``(N, *input.shape)`` and a source of randomness -> logits ``(N, classes)``."""

Loss = Callable[[Tensor, Tensor, np.random.Generator], Tensor]
"""``(N, *input.shape)``, labels ``(N,)`` and a source of randomness -> what to minimize, a scalar."""


def loss_of(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """What a model is trained on: its own `training_loss`, where a defense gave it one, or the mean cross-entropy.

    Args:
        model: Inputs to logits.
        inputs: ``(B, *input.shape)``.
        labels: ``(B,)`` int64, or ``(B, classes)`` shares of each class.
    """
    if (own := getattr(model, "training_loss", None)) is not None:
        value: Tensor = own(inputs, labels)
        return value
    logits = model(inputs)
    return functional.cross_entropy(logits if logits.dtype == torch.float64 else logits.float(), labels)


def train(
    model: nn.Module,
    data: Dataset,
    *,
    epochs: int,
    seed: int,
    lr: float = 2e-3,
    batch: int = 64,
    flip: bool = False,
    forward: Forward | None = None,
    device: torch.device | None = None,
) -> list[float]:
    """Minimize the cross-entropy of a model with `optimize`, whose arguments and result the others are.

    The logits of a batch are those of `forward`, with gradients for the model; without it, the loss is `loss_of` the
    model.

    Raises:
        ConfigError: There are samples whose class is not known.
    """
    if (data.labels == NO_CLASS).any():
        raise ConfigError(
            f"The {data.modality.one[1]} have no classes, which a model is trained on: {data.modality.labelled}."
        )

    def loss(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        if forward is None:
            return loss_of(model, images, labels)
        return functional.cross_entropy(forward(images, rng).float(), labels)

    return optimize([model], data, loss, epochs=epochs, seed=seed, lr=lr, batch=batch, flip=flip, device=device)


def optimize(
    modules: Sequence[nn.Module],
    data: Dataset,
    loss: Loss,
    *,
    epochs: int,
    seed: int,
    lr: float | Sequence[float] = 2e-3,
    batch: int = 64,
    weight_decay: float = 1e-2,
    flip: bool = False,
    device: torch.device | None = None,
) -> list[float]:
    """Minimize any loss over the data with AdamW and a one-cycle learning rate.

    The modules are left in eval mode, on the CPU and contiguous, whatever happens. Two runs with one seed on the same
    device and number of threads give the same weights.

    Args:
        modules: The modules whose parameters are trained, in training mode during the training.
        data: The training samples.
        loss: Computes the loss of a batch. It is called under autocast and converts to float32 what has to be exact.
            An adversary takes its own steps in it, on detached tensors.
        epochs: Passes over the data; 0 changes nothing.
        seed: Seed of the order of the samples, of dropout, of the flips and of what `loss` draws.
        lr: The greatest learning rate of the cycle, for all modules or for each; a module with 0 is not trained.
        batch: The greatest number of samples in a step; an epoch is divided evenly into steps.
        weight_decay: Weight decay of AdamW.
        flip: Mirror each image left to right with probability 1/2.
        device: Where to compute; the fastest device if absent. Other modules that `loss` uses must be there.

    Returns:
        The mean loss over each epoch; in `train` the cross-entropy in nats.

    Raises:
        ConfigError: The loss is no longer finite.
    """
    device = device or pick_device()
    inputs, labels = torch.from_numpy(data.inputs).to(device), torch.from_numpy(data.labels).to(device)
    steps, rng, layout = -(-len(data) // batch), np.random.default_rng(seed), fastest_layout(inputs.dim())
    rates = [lr] * len(modules) if isinstance(lr, int | float) else list(lr)
    trained = [(module, rate) for module, rate in zip(modules, rates, strict=True) if rate > 0]
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(placed(device, module))
        for module, _ in trained:
            stack.callback(module.eval)
            module.train()
        # Dropout draws from torch's own generators, which are restored afterwards.
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"))
        torch.manual_seed(seed)
        groups = [{"params": list(module.parameters()), "lr": rate} for module, rate in trained]
        optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay)
        rates = [rate for _, rate in trained]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=max(1, epochs * steps))
        losses: list[float] = []
        for number in track(range(1, epochs + 1), "training"):
            total = torch.zeros((), device=device)
            for index in track(np.array_split(rng.permutation(len(data)), steps)):
                chosen = torch.from_numpy(index).to(device)
                x, y = inputs[chosen].contiguous(memory_format=layout), labels[chosen]
                if flip:
                    mirrored = torch.from_numpy(rng.random(len(x)) < 0.5).to(device)
                    x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
                with autocast(device):
                    value = loss(x, y, rng)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                schedule.step()
                total += value.detach() * len(y)
            losses.append(total.item() / len(data))
            if not np.isfinite(losses[-1]):
                text = f"The training diverged in epoch {number} (loss {losses[-1]}); use a lower lr than {lr}."
                raise ConfigError(text)
            note(f"loss {losses[-1]:.3f}")
    return losses


def accuracy(
    model: nn.Module, data: Dataset, *, batch: int = 250, device: torch.device | None = None
) -> tuple[int, int]:
    """The number of samples that the model classifies correctly, in float32, and of all samples."""
    return int((predictions(model, data, batch=batch, device=device) == data.labels).sum()), len(data)


def predictions(
    model: nn.Module, data: Dataset, *, batch: int = 250, device: torch.device | None = None
) -> NDArray[np.int64]:
    """The class that the model gives to each sample, in float32, ``(N,)``."""
    classes: NDArray[np.int64] = outputs(model, data.inputs, batch=batch, device=device).argmax(1)
    return classes


def outputs(
    model: nn.Module, inputs: NDArray[Any], *, batch: int = 250, device: torch.device | None = None
) -> NDArray[np.float32]:
    """What the model gives for inputs ``(N, *input.shape)``, in eval mode and float32, ``(N, ...)``."""
    device = device or pick_device()
    layout = fastest_layout(inputs.ndim)
    model.eval()
    with placed(device, model), torch.inference_mode():
        parts = [
            model(torch.from_numpy(inputs[first : first + batch]).to(device, memory_format=layout)).cpu().numpy()
            for first in range(0, len(inputs), batch)
        ]
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
