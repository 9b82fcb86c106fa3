"""The view of an attacker on a deployed split. This is the only place that builds a `View`.

What the attacker sees is exactly what left the device: the oracle returns what the device's own pipeline wires, or on a
card what head and defense give there by the same law.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cutlayer.attacks.view import CLOUD, LENGTHS, SMASHED, Access, Query, Vantage, View
from cutlayer.data.splits import Dataset
from cutlayer.defenses.base import Defense, deployed
from cutlayer.edge.pipeline import Pipeline
from cutlayer.errors import SplitError
from cutlayer.machine.compute import pick_device
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import Half, SplitFolder
from cutlayer.wire.codecs.packed import codec_named

Wire = Callable[[NDArray[Any]], NDArray[Any]]
"""Inputs ``(N, *input.shape)`` to what the server receives for them, ``(N, *smashed.shape)``."""


def view(
    access: Access,
    *,
    input: TensorSpec,
    smashed: TensorSpec,
    auxiliary: Dataset,
    query: Query,
    defense: Defense,
    tail: nn.Module | None = None,
    head: nn.Module | None = None,
    device: torch.device | None = None,
    seed: int = 0,
    kept: dict[Any, Any] | None = None,
    vantage: Vantage = CLOUD,
) -> View:
    """Make the threat model an object: what `access` withholds is None.

    Args:
        access: What the attacker knows of the head.
        input: One input.
        smashed: What arrives for one input.
        auxiliary: The attacker's own labelled inputs.
        query: The oracle; see `oracle`.
        defense: The defense of the device, ready to protect.
        tail: The server's half in torch; None where the split has none.
        head: The device's half in torch, for a white-box attacker; None where the split has none.
        device: Where the attacker computes; the fastest one present when None.
        seed: Seed of the attacker's own random choices.
        kept: What the attacks of one run share, see `View.kept`; nothing when None.
        vantage: Where the attacker sits.
    """
    white = access >= Access.WHITE_BOX
    return View(
        input=input,
        smashed=smashed,
        auxiliary=auxiliary,
        device=device or pick_device(),
        seed=seed,
        random=defense.random,
        access=access,
        vantage=vantage,
        _tail=tail,
        _query=query if access >= Access.BLACK_BOX else None,
        _head=head if white else None,
        _defense=defense if white else None,
        _kept={} if kept is None else kept,
    )


def wire(head: Half, defense: Defense, codec: str, seed: list[int], length: int | None = None) -> Wire:
    """The device's pipeline as a function, with fresh draws of the defense at each call.

    Args:
        head: The deployed head, as `Releases` remembers it where it is asked for the same inputs again.
        defense: The defense of the device, ready to protect.
        codec: Name of the codec.
        seed: Seed of the draws; not that of the device.
        length: Greatest length of a sequence, see `cutlayer.models.manifest.Manifest.length`.
    """
    pipeline, rng = Pipeline(head, defense, codec_named(codec), length), np.random.default_rng(seed)
    return lambda inputs: pipeline.wire(inputs, rng)


def lengths(head: Half, defense: Defense, codec: str, seed: list[int], length: int | None = None) -> Wire:
    """What is to be seen of the same pipeline where its bytes are encrypted: the size of each encoded tensor.

    Returns:
        A function from inputs, each of which is sent by itself, to the numbers of bytes, ``(N, 1)`` float32.
    """
    pipeline, rng = Pipeline(head, defense, codec_named(codec), length), np.random.default_rng(seed)

    def sizes(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        sent = [pipeline.release(inputs[i : i + 1], rng).encoded.data for i in range(len(inputs))]
        return np.array([[len(data)] for data in sent], np.float32)

    return sizes


def watched(sees: str, head: Half, defense: Defense, codec: str, seed: list[int], length: int | None = None) -> Wire:
    """What an attack observes of the device's pipeline, `SMASHED` or `LENGTHS`; see `wire` and `lengths`."""
    return (lengths if sees == LENGTHS else wire)(head, defense, codec, seed, length)


def observable(sees: str, smashed: TensorSpec) -> TensorSpec:
    """The shape of what an attack observes of one input."""
    return TensorSpec((1,)) if sees == LENGTHS else smashed


def oracle(wire: Wire) -> Query:
    """What the server would receive for any input, as tensors on the device of the input."""
    return lambda inputs: torch.tensor(wire(inputs.detach().cpu().numpy()), device=inputs.device)


def on_card(head: nn.Module, defense: Defense, device: torch.device, seed: list[int]) -> Query:
    """What the server would receive with the codec ``raw``, by the same law, computed by torch on the attacker's card.

    Nothing passes through the host's memory: the defense draws there too, see `cutlayer.defenses.shared.draws`.

    Args:
        head: The device's half; a copy of it is moved.
        defense: The defense of the device, ready to protect.
        device: Where to compute.
        seed: Seed of the draws; not that of the device.
    """
    head = copy.deepcopy(head).to(device).eval().requires_grad_(False)
    rng = np.random.default_rng(seed)

    def query(inputs: torch.Tensor) -> torch.Tensor:
        # TF32 would round what the device computes in float32.
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            sent: torch.Tensor = defense.protect(head(inputs.to(device)).contiguous(), rng)
        return sent.to(inputs.device)

    return query


def query_of(
    sees: str,
    head: Half,
    defense: Defense,
    codec: str,
    seed: list[int],
    in_torch: nn.Module | None,
    length: int | None = None,
) -> Query:
    """The oracle of an attacker: the device's own pipeline, or on a card `on_card`, where that gives the same.

    Args:
        sees: What the attack observes.
        head: The deployed head; see `wire`.
        defense: The defense of the device, ready to protect.
        codec: Name of the codec.
        seed: Seed of the draws.
        in_torch: The same head in torch; None where the split has none.
        length: Greatest length of a sequence; see `wire`.
    """
    device = pick_device()
    if (
        in_torch is not None
        and length is None
        and device.type == "cuda"
        and sees == SMASHED
        and codec == "raw"
        and not defense.slow
        and not defense.rewrites
    ):
        return on_card(in_torch, defense, device, seed)
    return oracle(watched(sees, head, defense, codec, seed, length))


def view_of(
    split: SplitFolder,
    access: Access,
    auxiliary: Dataset,
    *,
    codec: str = "raw",
    head: Half | None = None,
    seed: int = 0,
    sees: str = SMASHED,
) -> View:
    """The view of a deployed split folder, its own defense included.

    Args:
        split: The split folder. Where it has no halves in torch, the view withholds both.
        access: What the attacker knows of the head.
        auxiliary: The attacker's own labelled inputs.
        codec: Name of the codec on the wire.
        head: The head of the folder, where it is open already; see `wire`.
        seed: Seed of the attacker's own random choices, and of the draws of the oracle.
        sees: What the attack observes, `SMASHED` or `LENGTHS`.
    """
    if len(split.manifest.data_inputs) > 1:
        raise SplitError(
            f"Attacks rebuild one input from smashed data, and the head of {split.path} takes "
            f"{', '.join(split.manifest.data_inputs)}; give the others a value with `cutlayer split --constant`."
        )
    defense, halves = deployed(split), split.halves() if split.has_halves else None
    in_torch = None if halves is None else halves.head
    return view(
        access,
        input=split.manifest.input,
        smashed=observable(sees, split.manifest.smashed),
        auxiliary=auxiliary,
        query=query_of(sees, head or split.head(), defense, codec, [seed, 1], in_torch, split.manifest.length),
        defense=defense,
        tail=None if halves is None else halves.tail,
        head=in_torch,
        seed=seed,
    )
