"""The choice of the worst attack: the one with the greatest leakage gain is the headline of a run and of a cut."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TypeVar

from cutlayer.records.run import AttackRecord, Estimate, WorstCase

Name = TypeVar("Name")


def worst(gains: Mapping[Name, Estimate]) -> Name:
    """The name of the greatest leakage gain; of equal ones the first."""
    return max(gains, key=lambda name: gains[name].value)


def worst_case(attacks: Sequence[AttackRecord]) -> WorstCase | None:
    """The attack that leaks most, over all attacks and deployments; None where none made a reconstruction."""
    if not attacks:
        return None
    chosen = attacks[worst({place: attack.leakage_gain for place, attack in enumerate(attacks)})]
    return WorstCase(**{field.name: getattr(chosen, field.name) for field in fields(WorstCase)})
