"""The record of a finished experiment, from its observations and scores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.attacks.view import Access
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import Defense
from cutlayer.edge.requests import UNKNOWN
from cutlayer.experiment.adversary import Achieved
from cutlayer.experiment.flags import failures, flags, unfit
from cutlayer.experiment.measure import Observed
from cutlayer.experiment.spec import Experiment
from cutlayer.experiment.turns import added
from cutlayer.metrics.interval import paired_change, proportion
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
    Utility,
    Words,
)
from cutlayer.registry import ATTACKS, CODECS, DATASETS, DEFENSES, METRICS, MODELS
from cutlayer.trace import STAGES, Columns
from cutlayer.wire.codecs.packed import rewritten


@dataclass(frozen=True)
class Answers:
    """The classes of the test images, ``(N,)`` each.

    Attributes:
        labels: The true ones.
        undefended: Those that the model without the defense answers.
        served: Those that each deployment answered, by its label.
    """

    labels: NDArray[np.int64]
    undefended: NDArray[np.int64]
    served: dict[str, NDArray[np.int64]]

    def arrays(self) -> dict[str, NDArray[np.int64]]:
        """The arrays by their names in `answers.npz`."""
        served = {f"served/{deployment}": classes for deployment, classes in self.served.items()}
        return {"labels": self.labels, "undefended": self.undefended, **served}


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
    right, undefended = (
        classes == answers.labels for classes in (next(iter(answers.served.values())), answers.undefended)
    )
    utility = Utility(
        accuracy=proportion(int(right.sum()), len(right)),
        baseline=proportion(int(undefended.sum()), len(undefended)),
        change=paired_change(undefended, right),
        further_epochs=defense.further_epochs,
    )
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
    line = f"accuracy {result.utility.accuracy.value:.1%}"
    if worst := result.worst_case:
        line += f"; leaks most to {worst.label}, gain {worst.leakage_gain.value:.2f}"
    if found := result.identified:
        line += f"; {found.label} identifies {found.top_1.value:.1%} among {found.candidates:,}"
    return line
