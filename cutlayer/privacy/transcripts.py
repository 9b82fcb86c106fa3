"""What each party of a training can read from what it recorded: labels from gradients, inputs from smashed data.

The attacks are run afterwards, on the transcripts in the folder of a run. What a party had in its hands already, and
what its recording does not hold, is said and not attacked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cutlayer.attacks.training.base import LabelAttack, LabelView, score
from cutlayer.attacks.training.training_inversion import TrainingInversion
from cutlayer.attacks.training.view import TrainingAttack, TrainingView
from cutlayer.cloud.training.attacking import drawn_anew
from cutlayer.data.load import open_data
from cutlayer.data.modality import IMAGE
from cutlayer.errors import ConfigError, DataError, WithheldError
from cutlayer.metrics.image import mse, ssim
from cutlayer.models.text_folder import tokenizer_of
from cutlayer.protocols.cutting import pieces
from cutlayer.protocols.schedule import batches
from cutlayer.protocols.setup import Setup
from cutlayer.records.training import TRANSCRIPT, Leak
from cutlayer.records.transcript import Seen, Transcript

SERVER = "server"
AUXILIARY, SCORED = 2000, 200
"""Samples of the attacker's own, and samples whose reconstruction is scored, at most."""


def parties(folder: Path) -> list[str]:
    """The parties whose transcripts are in the folder of a run: the server, then the clients by number."""
    found = [path.parent.name for path in folder.glob(f"*/{TRANSCRIPT}")]
    return sorted(found, key=lambda name: (name != SERVER, len(name), name))


def leaks(
    folder: Path,
    party: str,
    setup: Setup,
    labels: Mapping[str, LabelAttack],
    inputs: Mapping[str, TrainingAttack],
    *,
    known: int,
    count: int,
    steps: int,
    data_root: Path | None,
    say: Callable[[str], None],
) -> Iterator[Leak]:
    """What the attacks find in the transcript of a party.

    Args:
        folder: Folder of the run.
        party: ``server``, or ``client-1`` and so on.
        setup: The plan and its data, from which the truth is taken.
        labels: Attacks on labels, by name.
        inputs: Attacks on inputs, by name.
        known: Samples of each class whose labels the attacker knows.
        count: Samples of a round whose labels are inferred, at most.
        steps: Steps that an attack on inputs takes: through the recording again and again, or on its last ones.
        data_root: Folder of the data sets that are not embedded.
        say: Called with each line of progress.

    Raises:
        DataError: The transcript is damaged, or does not fit the plan and its data.
    """
    transcript, client = Transcript(folder / party / TRANSCRIPT), _number(party)
    plan = setup.plan
    if not client and plan.row.labels == "sent":
        yield Leak(party=party, target="labels", withheld="nothing to infer: the server gets the label of every sample")
    else:
        for round in _milestones(plan.rounds):
            seen = _whole(_of_round(transcript, round), setup, client, count)
            for name, attack in labels.items() if seen else ():
                say(f"{party}: {name} on the gradients of round {round}")
                yield _labels(party, name, attack, round, seen, setup, known)
    if client:
        yield Leak(party=party, target="inputs", withheld="a client sees no smashed data but those of its own samples")
        return
    for name, rebuilding in inputs.items():
        say(f"{party}: {name} on the smashed data")
        yield _inputs(party, name, rebuilding, transcript, setup, steps, data_root)


def _number(party: str) -> int:
    """The number of a client; 0 for the server."""
    return 0 if party == SERVER else int(party.removeprefix("client-"))


def _milestones(rounds: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys((1, ceil(rounds / 10), rounds)))


def _of_round(transcript: Transcript, round: int) -> Iterator[Seen]:
    return (seen for seen in transcript.steps() if seen.round == round and seen.gradient is not None)


def _whole(steps: Iterator[Seen], setup: Setup, client: int, count: int) -> list[tuple[Seen, NDArray[np.intp]]]:
    """Steps with the positions of their samples among all training samples, up to a number of samples."""
    found, taken = list[tuple[Seen, NDArray[np.intp]]](), 0
    for seen in steps:
        index = _index(setup, seen, at_client=bool(client))
        taken += len(index)
        if found and taken > count:
            break
        found.append((seen, index))
    return found


def _index(setup: Setup, seen: Seen, *, at_client: bool) -> NDArray[np.intp]:
    """The positions of the samples of a step among all training samples.

    Raises:
        DataError: The plan has no such step, or one of another size.
    """
    plan = setup.plan
    if not 1 <= seen.client <= plan.clients:
        raise DataError(f"The transcript names client {seen.client}; the plan has {plan.clients}.")
    mine = setup.indices[seen.client - 1]
    every = plan.auxiliary_every if plan.row.feedback == "local-loss" and not at_client else 1
    all_steps = (
        index for epoch in range(plan.epochs) for index in batches(plan, seen.client, len(mine), seen.round, epoch)
    )
    index = next(itertools.islice(all_steps, seen.step * every, None), None)
    rows = seen.smashed if seen.smashed is not None else seen.gradient
    if index is None or rows is None or len(rows) != len(index):
        raise DataError(
            f"Step {seen.step} of client {seen.client} in round {seen.round} is not that of this plan and these data; "
            "give the data of the training, and leave out one whose batches were sent in pieces."
        )
    whole: NDArray[np.intp] = np.asarray(mine[index], np.intp)
    return whole


def _labels(
    party: str,
    name: str,
    attack: LabelAttack,
    round: int,
    seen: Sequence[tuple[Seen, NDArray[np.intp]]],
    setup: Setup,
    known: int,
) -> Leak:
    truth = setup.train.labels[np.concatenate([index for _, index in seen])]
    told = {
        int(sample): label
        for label in range(len(setup.classes))
        for sample in np.flatnonzero(truth == label)[:known]
    }  # fmt: skip
    smashed = tuple(torch.from_numpy(step.smashed) for step, _ in seen if step.smashed is not None)
    gradients = tuple(torch.from_numpy(step.gradient) for step, _ in seen if step.gradient is not None)
    view = LabelView(
        gradients, len(setup.classes), setup.plan.seed, told, smashed if len(smashed) == len(seen) else None
    )
    try:
        found = score(attack, view, truth)
    except (WithheldError, ConfigError) as error:
        return Leak(party=party, target="labels", attack=name, round=round, withheld=str(error))
    return Leak(
        party=party, target="labels", attack=name, round=round, n=found.n, auc=found.auc, accuracy=found.accuracy,
        majority=found.majority,
    )  # fmt: skip


def _inputs(
    party: str,
    name: str,
    attack: TrainingAttack,
    transcript: Transcript,
    setup: Setup,
    steps: int,
    data_root: Path | None,
) -> Leak:
    try:
        view, tails = _view(attack, transcript, setup, data_root)
        attack.begin(view)
        n = sum(1 for _ in transcript.steps())
        # Again and again in their order, where fewer were recorded than the attack shall take.
        order = itertools.chain.from_iterable(transcript.steps() for _ in range(ceil(steps / max(1, n))))
        last: list[Seen] = []
        for seen in itertools.islice(order, max(0, n - steps), max(n, steps)):
            assert seen.smashed is not None
            labels = None if seen.labels is None else torch.from_numpy(seen.labels)
            attack.step(torch.from_numpy(seen.smashed), labels, tails(seen.round))
            last = [*last, seen][-ceil(SCORED / max(1, len(seen.smashed))) :]
    except (WithheldError, ConfigError) as error:
        return Leak(party=party, target="inputs", attack=name, withheld=str(error))
    smashed = torch.cat([torch.from_numpy(seen.smashed) for seen in last if seen.smashed is not None])[-SCORED:]
    truth = torch.from_numpy(_sent(setup, last))[-SCORED:]
    rebuilt = attack.invert(smashed).cpu()
    mean = torch.from_numpy(view.auxiliary.inputs).mean(0).expand_as(truth)
    wrong, floor = (float(mse(images, truth).mean()) for images in (rebuilt, mean))
    return Leak(
        party=party, target="inputs", attack=name, round=last[-1].round, n=len(truth), steps=steps, mse=wrong,
        psnr_db=-10 * math.log10(max(wrong, 1e-12)), ssim=float(ssim(rebuilt, truth).mean()), mse_of_mean=floor,
    )  # fmt: skip


def _view(
    attack: TrainingAttack, transcript: Transcript, setup: Setup, data_root: Path | None
) -> tuple[TrainingView, Callable[[int], nn.Module]]:
    """What the server may touch, and its layers as they were at the begin of a round.

    Raises:
        WithheldError: The recording of an honest server does not hold what the attack needs.
    """
    plan = setup.plan
    if len({plan.cut_of(client) for client in range(1, plan.clients + 1)}) > 1:
        raise WithheldError("The clients cut at different layers, and an attack rebuilds from one.")
    if isinstance(attack, TrainingInversion):
        if attack.alignment == "hijack":
            raise WithheldError("It chooses the gradients while it trains; cutlayer.cloud.training.attacking runs it.")
        if plan.row.u_shaped and attack.task:
            raise WithheldError("It needs the loss, whose layers the clients keep in a U-shaped plan.")
    data = open_data(plan.data, data_root, plan.seed, shape=setup.input.shape, tokenizer=tokenizer_of(plan.model))
    if data.modality is not IMAGE:
        raise WithheldError(f"It rebuilds images, and {data.name} has none.")
    auxiliary, _ = data.auxiliary.take(AUXILIARY).loaded()
    parts = pieces(plan, 1, setup.model(), setup.input, len(setup.classes))
    assert parts.smashed is not None
    assert parts.tail is not None
    tail, begun, loaded = parts.tail, {k: v.clone() for k, v in parts.tail.state_dict().items()}, 0

    def as_in(round: int) -> nn.Module:
        nonlocal loaded
        if loaded != round:
            weights = {k: torch.from_numpy(v) for k, v in transcript.model(round - 1).items()} if round > 1 else begun
            tail.load_state_dict({k: weights[k] for k in begun})
            loaded = round
        return tail

    view = TrainingView(
        setup.input, parts.smashed, len(setup.classes), auxiliary, plan.seed, _new_head=drawn_anew(parts.head)
    )
    return view, as_in


def _sent(setup: Setup, steps: Sequence[Seen]) -> NDArray[np.float32]:
    """The inputs of steps that the server saw, ``(N, *input.shape)``."""
    own = {client: setup.samples(client) for client in {seen.client for seen in steps}}
    found = []
    for seen in steps:
        index = _index(setup, seen, at_client=False)
        places = np.searchsorted(setup.indices[seen.client - 1], index)
        found.append(own[seen.client].inputs[places])
    return np.concatenate(found)
