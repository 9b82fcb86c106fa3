"""The content of `attacks.json`: what attacks made of a recorded tap, in the rows of a run."""

from __future__ import annotations

from dataclasses import dataclass

from cutlayer.records.run import AttackRecord, FailedAttack

ATTACKS_FILE = "attacks.json"
TAP_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class TapRecord:
    """What attacks made of a recorded tap.

    Attributes:
        model: Model and cut of the split, as on the wire.
        version: The hash in its `split.json`.
        defense: Title of the split's defense with its options.
        codec: Name of the codec on the wire.
        data: Name of the data set whose auxiliary part the attackers hold.
        access: Name of the access that they were granted, as in `cutlayer.attacks.view.Access`.
        vantage: Where they sit, a key of `cutlayer.attacks.view.VANTAGES`.
        input: Shape of one input.
        n: Number of inputs that were attacked.
        n_releases: Releases of each of them that the tap holds.
        scored: Whether the truth was at hand; if not, there are reconstructions and no figures.
        attacks: Every attack that was scored.
        failed: The attacks that failed, none of which has a figure.
        notes: What a reader of the results should know.
    """

    schema: int
    model: str
    version: str
    defense: str
    codec: str
    data: str
    seed: int
    access: str
    vantage: str
    input: tuple[int, ...]
    n: int
    n_releases: int
    scored: bool
    attacks: tuple[AttackRecord, ...]
    failed: tuple[FailedAttack, ...]
    notes: tuple[str, ...] = ()
