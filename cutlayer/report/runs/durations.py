"""Where the time of a plan went, as a table for a terminal."""

from collections.abc import Mapping, Sequence

from cutlayer.records.run import Result
from cutlayer.report.kit.columns import columns
from cutlayer.report.kit.wording import seconds

PARTS = {
    "train": "training",
    "rehearse": "rehearsing the attacks for the budget",
    "harden": "hardening, cutting, export",
    "measure": "requests between the two processes",
}


def durations(results: Sequence[Result], before: Mapping[str, float], whole_s: float) -> str:
    """The seconds of each part, summed over experiments.

    Args:
        results: The experiments that were run.
        before: Seconds of the parts of the work that was done before them, by the names of `Result.seconds`.
        whole_s: Seconds from the beginning to the end.
    """

    def total(part: str) -> float:
        return before.get(part, 0.0) + sum(result.seconds.get(part, 0.0) for result in results)

    attacks: dict[str, float] = {}
    for result in results:
        fitted: set[str] = set()
        for attack in result.privacy:
            # The records of one attack on several deployments state the same fit.
            spent_s = attack.invert_s + (0.0 if attack.label in fitted else attack.fit_s)
            attacks[attack.label] = attacks.get(attack.label, 0.0) + spent_s
            fitted.add(attack.label)
    rows = {title: total(part) for part, title in PARTS.items() if total(part)}
    rows |= {f"attack: {label}": spent_s for label, spent_s in attacks.items()}
    listed_s = sum(found.seconds for result in results for found in result.identification)
    rows |= {"watch lists": listed_s} if listed_s else {}
    rows["scores of the reconstructions"] = total("attack") - sum(attacks.values()) - listed_s
    rows |= {"probes": total("probe")} if any(result.probes for result in results) else {}
    rows["spectrum of the heads"] = total("spectrum")
    rows["ceiling of any attacker"] = total("ceiling")
    rows |= {"predictors of leakage": total("predict")} if total("predict") else {}
    rows["all else: data, records"] = whole_s - sum(rows.values())
    rows["in all"] = whole_s
    cells = [[title, seconds(spent_s), f"{spent_s / whole_s:.0%}"] for title, spent_s in rows.items()]
    return columns(["WHERE THE TIME WENT", "SECONDS", "SHARE"], cells, rule=True)
