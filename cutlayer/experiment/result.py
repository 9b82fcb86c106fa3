"""The record of a finished experiment, from its observations and scores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from cutlayer.attacks.view import Access
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import Defense
from cutlayer.edge.requests import UNKNOWN
from cutlayer.experiment.adversary import Achieved
from cutlayer.experiment.flags import failures, flags, unfit
from cutlayer.experiment.measure import Observed
from cutlayer.experiment.spec import Experiment
from cutlayer.experiment.turns import added
from cutlayer.experiment.usefulness import Answers
from cutlayer.models.manifest import Manifest
from cutlayer.percentiles import percentiles
from cutlayer.privacy.identification import CANDIDATES
from cutlayer.privacy.worst_case import worst_case
from cutlayer.records.run import (
    SCHEMA,
    AttackRecord,
    Ceiling,
    CostRecord,
    FailedAttack,
    Predictors,
    Published,
    Result,
    Spectrum,
    Words,
)
from cutlayer.registry import ATTACKS, CODECS, DATASETS, DEFENSES, METRICS, MODELS
from cutlayer.trace import STAGES, Columns
from cutlayer.wire.codecs.packed import rewritten


def result(
    experiment: Experiment,
    manifest: Manifest,
    data: Splits,
    defense: Defense,
    spectrum: Spectrum | None,
    ceiling: Ceiling,
    predictors: Predictors | None,
    facts: dict[str, float | str],
    answers: Answers,
    observed: Sequence[Observed],
    turns: Mapping[str, Columns],
    achieved: Achieved,
    failed: Sequence[FailedAttack],
    seconds: dict[str, float],
) -> Result:
    """The whole of `result.json`.

    `manifest` is that of the split folder that was served, `defense` is as deployed, and `facts` are what it states of
    itself. `turns` are the times of the deployments that took turns with the undefended model, by their labels.
    """
    utility = answers.utility(defense.further_epochs, experiment.seed)
    return Result(
        schema=SCHEMA,
        id=experiment.id,
        name=experiment.name,
        claim=experiment.claim,
        data=DATASETS.label(experiment.data),
        model=MODELS.label(experiment.model),
        cut=experiment.cut,
        seed=experiment.seed,
        classes=tuple(data.classes),
        input=manifest.input.shape,
        smashed=manifest.smashed.shape,
        candidates=min(CANDIDATES, len(data.private)),
        defense=_readable(manifest.defense),
        defense_label=experiment.defense.label,
        defense_facts=facts,
        utility=utility,
        privacy=tuple(replace(attack, published=published(attack, experiment)) for attack in achieved.rows),
        worst_case=worst_case(achieved.rows),
        spectrum=spectrum,
        modality=data.modality.name,
        ceiling=ceiling,
        predictors=predictors,
        cost=tuple(cost(entry, turns.get(entry.deployment.label), experiment.seed) for entry in observed),
        flags=(
            *unfit(utility, answers.labels, data.modality.one[1]),
            *failures(failed),
            *flags(experiment, achieved, data, defense, spectrum, ceiling),
        ),
        seconds=seconds,
        words=tuple(_words(experiment)),
        setup=setup(experiment),
        expect=experiment.expect,
        failed=tuple(failed),
        identification=achieved.identification,
        access=Access.named(experiment.measure.access).name,
        vantage=experiment.measure.vantage,
        servers=experiment.measure.servers,
        codec=rewritten(experiment.measure.codec, CODECS.label),
    )


def setup(experiment: Experiment) -> str:
    """The id of the experiment without what may differ between runs that are compared."""
    bare = Experiment(experiment.data, experiment.model, experiment.cut, input=experiment.input)
    return replace(bare, start=experiment.start, training=experiment.training, measure=experiment.measure).id


def _readable(description: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a defense with the names for a reader."""
    readable = {**description, "name": DEFENSES.label(description["name"])}
    return readable | ({"then": _readable(description["then"])} if "then" in description else {})


def _words(experiment: Experiment) -> Iterator[Words]:
    """What the attacks and metrics of the user's own say of themselves."""
    for name in dict.fromkeys(attack.name for attack in experiment.attacks):
        if ATTACKS.is_own(name):
            yield Words(name=ATTACKS.label(name), explanation=str(ATTACKS.load(name).plain_words))
    for name in filter(METRICS.is_own, experiment.measure.metrics):
        own, known = METRICS.load(name), {field.name for field in fields(Words)}
        said = {key: value for key, value in vars(own).items() if key in known}
        yield Words(**{**said, "name": METRICS.label(name)})


def cost(observed: Observed, turns: Columns | None, seed: int) -> CostRecord:
    """Percentiles of every stage, sizes and memory of one deployment, and what the defense adds, if it took turns."""
    timed, record = observed.timed, observed.record
    kernel_bytes = int(record["kernel_bytes"])
    return CostRecord(
        deployment=observed.deployment.label,
        transport=observed.deployment.transport,
        head=observed.deployment.head,
        n=len(timed["end_to_end_ns"]),
        stages={stage: percentiles(timed[f"{stage}_ns"]) for stage in STAGES},
        end_to_end=percentiles(timed["end_to_end_ns"]),
        first_request_ns=int(record["first_request_ns"]),
        tensor_bytes=int(np.median(timed["tensor_bytes"])),
        message_bytes=int(np.median(timed["message_bytes"])),
        kernel_bytes=None if kernel_bytes == UNKNOWN else kernel_bytes,
        edge_peak_rss_bytes=int(record["peak_rss_bytes"]),
        energy_j=None,
        energy_source="none",
        others=observed.others,
        added_ns=added(turns, seed) if turns else None,
    )


def published(attack: AttackRecord, experiment: Experiment) -> Published | None:
    """The values of the literature for an attack and the cut, where the plan states some."""
    for stated in experiment.published:
        if stated.cut == experiment.cut and stated.attack == attack.label:
            values = {name: v for name, v in asdict(stated).items() if name in attack.metrics and v is not None}
            return Published(values=values, source=stated.source)
    return None


def summary(result: Result) -> str:
    """One line of progress."""
    utility = result.utility
    line = f"cosine {utility.figure.value:.3f}" if utility.vectors else f"accuracy {utility.figure.value:.1%}"
    if worst := result.worst_case:
        line += f"; leaks most to {worst.label}, gain {worst.leakage_gain.value:.2f}"
    if found := result.identified:
        line += f"; {found.label} identifies {found.top_1.value:.1%} among {found.candidates:,}"
    return line
