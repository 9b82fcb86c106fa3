"""What the smashed data of a training give away as it goes on: an attack on the head of some of its rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import Access
from cutlayer.data.load import open_data
from cutlayer.data.modality import IMAGE
from cutlayer.models.halves import split
from cutlayer.models.text_folder import tokenizer_of
from cutlayer.privacy.score import score
from cutlayer.privacy.view import oracle, view
from cutlayer.protocols.draws import Role, generator
from cutlayer.protocols.setup import Setup
from cutlayer.records.training import Leakage
from cutlayer.registry import ATTACKS, defense_from
from cutlayer.wire.codecs.packed import codec_named, decode

ATTACK = "ridge"
"""It has nothing to tune and is fitted in seconds, and inverts the first layers better than many that train."""

AUXILIARY, PRIVATE = 1000, 64
"""Samples of the attacker's own, and of the victims."""


def leakage(setup: Setup, models: Mapping[int, Path], data_root: Path | None) -> tuple[Leakage, ...]:
    """The leakage gain of an attacker with samples of its own, from what a client sends after each of these rounds.

    Args:
        setup: The plan and its data; samples of clients are neither the attacker's nor the victims'.
        models: Files of the weights of the whole model by round.
        data_root: Folder of the data sets that are not embedded.

    Returns:
        One for each round; none where nothing is sent that a sample could be rebuilt from, or samples are no images.
    """
    plan = setup.plan
    data = open_data(plan.data, data_root, plan.seed, shape=setup.input.shape, tokenizer=tokenizer_of(plan.model))
    if plan.row.tail == "none" or data.modality is not IMAGE:
        return ()
    auxiliary, private = (
        part.take(n).loaded()[0] for part, n in ((data.auxiliary, AUXILIARY), (data.private, PRIVATE))
    )
    data = replace(data, train=setup.test.take(1), test=setup.test.take(1), auxiliary=auxiliary, private=private)
    defense, codec = defense_from({"name": plan.defense.name, **plan.defense.options}), codec_named(plan.codec.smashed)
    found = []
    for round, path in models.items():
        model = setup.model()
        model.load_state_dict(load_file(path))
        halves = split(model, plan.cut_of(1), setup.input)
        rng = generator(plan.seed, Role.NOISE, round=round)

        def sent(inputs: np.ndarray, head: torch.nn.Module = halves.head, rng: np.random.Generator = rng) -> np.ndarray:
            with torch.no_grad():
                smashed = head(torch.from_numpy(inputs)).numpy()
            return decode(codec.encode(np.ascontiguousarray(defense.protect(smashed, rng), np.float32)))

        attack: Attack = ATTACKS.make(ATTACK)
        seen = view(
            Access.BLACK_BOX, input=setup.input, smashed=halves.smashed, auxiliary=auxiliary, query=oracle(sent),
            defense=defense, tail=halves.tail, device=torch.device("cpu"), seed=plan.seed,
        )  # fmt: skip
        attack.fit(seen)
        rebuilt = attack.invert(torch.tensor(sent(private.inputs))).float().cpu()
        found.append(Leakage(round=round, attack=ATTACK, gain=score(rebuilt, data, plan.seed).leakage_gain))
    return tuple(found)
