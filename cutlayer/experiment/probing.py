"""The probes of an experiment: what each may touch, and what it infers from the device's own pipeline."""

from collections.abc import Sequence
from dataclasses import asdict

from cutlayer.attacks.base import Attack
from cutlayer.attacks.view import SMASHED, Access, Vantage, vantage_named
from cutlayer.data.splits import Splits
from cutlayer.defenses.base import Defense
from cutlayer.errors import ConfigError, WithheldError
from cutlayer.experiment.adversary import AttackError, failing
from cutlayer.experiment.spec import Experiment, Probe
from cutlayer.models.kept import Say
from cutlayer.privacy.probes import check, probe
from cutlayer.privacy.releases import Releases
from cutlayer.privacy.view import oracle, view, wire
from cutlayer.records.run import FailedAttack, Flag, ProbeRecord
from cutlayer.split_folder import Half, SplitFolder
from cutlayer.tables import Named

NEGLIGIBLE = 0.01
"""A loss of AUC that is no sign of a bad fit."""


def check_probes(probes: Sequence[Probe], data: Splits, granted: Access, vantage: Vantage, other: str = "") -> None:
    """Refuse probes that the data cannot answer, or that need more than is granted.

    Args:
        probes: What the plan asks for.
        data: The data.
        granted: The access that is granted.
        vantage: Where the attacker sits.
        other: The data set whose images the attackers hold, if it is not that of the victims.

    Raises:
        ConfigError: What is asked for is unknown, or the data set does not hold it.
        WithheldError: Probes query the head, and see smashed data.
    """
    for entry in probes:
        if granted < Access.BLACK_BOX or SMASHED not in vantage.sees:
            raise WithheldError(
                f"The probe {entry.label} needs black-box access and smashed data; {granted.label} access is granted, "
                f"and at the vantage {vantage.name} {' and '.join(vantage.sees)} are seen. Leave the probe out, or "
                "change measure.access or measure.vantage."
            )
        if other and entry.target != "identity":
            raise ConfigError(
                f"The probe {entry.label} is fitted on what is known of the attackers' inputs, and those of {other} "
                "have other classes and attributes; leave the probe out, or measure.auxiliary_data."
            )
        check(entry.target, entry.attribute, entry.network, entry.images, data)


def probe_all(
    experiment: Experiment, split: SplitFolder, head: Half, defense: Defense, data: Splits, say: Say
) -> tuple[list[ProbeRecord], list[FailedAttack]]:
    """Fit and measure every probe of the plan; one that fails does not stop the others.

    Probes that average releases are measured only where there is noise.

    Args:
        experiment: Names the probes, the codec and where the attacker sits.
        split: The split folder.
        head: Its head, which may remember what it computed.
        defense: Its defense, ready to protect.
        data: The truth; its `auxiliary` part is the attacker's own.
        say: Called when there is work to do.
    """
    records, failed = list[ProbeRecord](), list[FailedAttack]()
    codec, seed, tail = experiment.measure.codec, experiment.seed, split.halves().tail if split.has_halves else None
    queried = wire(head, defense, codec, [seed, *b"probe"], split.manifest.length)
    shared = Releases(queried, repeats=False) if defense.slow else None
    for entry in experiment.probes:
        if entry.n_releases > 1 and not defense.random:
            continue
        say(f"probing for {entry.label}")
        seen = view(
            Access.BLACK_BOX, input=split.manifest.input, smashed=split.manifest.smashed, auxiliary=data.auxiliary,
            query=oracle(shared.reader() if shared else queried), defense=defense, tail=tail, seed=seed,
            vantage=vantage_named(experiment.measure.vantage),
        )  # fmt: skip
        named = Named("probe", title=f"probe {entry.label}")
        try:
            with failing(named, Attack()):
                records += probe(
                    seen, wire(head, defense, codec, [seed, *b"probed"], split.manifest.length), data, **asdict(entry)
                )
        except AttackError as error:
            say(str(error))
            access = Access.BLACK_BOX.name
            failed.append(FailedAttack(attack="probe", label=named.label, access=access, reason=error.reason))
    return records, failed


def under_trained(records: Sequence[ProbeRecord]) -> list[Flag]:
    """A probe holds the answer that its baseline knows: one that is clearly worse was not fitted well."""
    return [
        Flag(
            "probe-below-baseline",
            f"The probe for {record.attribute or record.target} ({record.how}) has an AUC of {record.auc.value:.3f}, "
            f"and the tail's answer alone gives {record.baseline.value:.3f}: it is under-trained, and says nothing of "
            "what the smashed data tells.",
        )
        for record in records
        if record.target != "membership" and record.over_baseline.high < -NEGLIGIBLE
    ]
