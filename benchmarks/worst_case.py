"""The worst case of one split folder: every attack of the suite on the same private images, in one table.

    python benchmarks/worst_case.py runs/demo/split --data photos --auxiliary 1200

Attacks that contain one another share what they fit, and the seconds of a row are those that it adds to the rows above
it. Leakage gain with its 95 % bootstrap interval, identification among at most 1,000 with its exact one.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from tyro.conf import Positional

from cutlayer.attacks.base import fitted
from cutlayer.attacks.view import Access, View
from cutlayer.data.load import load
from cutlayer.data.splits import Splits
from cutlayer.metrics.interval import exact_proportion
from cutlayer.privacy.score import score
from cutlayer.privacy.view import view_of
from cutlayer.registry import ATTACKS
from cutlayer.split_folder import open_split

DECODER = {"capacity": "conv_normN2C32", "epochs": 20, "batch": 32, "varied": True}
RESSFL = {"capacity": "conv_normN0C16", "epochs": 50, "lr": 1e-3, "batch": 32, "schedule": "constant"}
MAP = {"attack": "decoder", "options": DECODER}
LEARNED = {"attack": "map", "options": MAP, "corrections": 1}
BOTH = {"attack": "learned-step", "options": LEARNED}
PARTS: tuple[dict[str, Any], ...] = (
    {"name": "ridge"}, {"name": "decoder", **RESSFL}, {"name": "decoder", **DECODER}, {"name": "map", **MAP},
)  # fmt: skip
MORE: tuple[dict[str, Any], ...] = ({"name": "learned-step", **LEARNED}, {"name": "map", **BOTH})
Suite = dict[str, tuple[str, dict[str, Any]]]
SUITE: Suite = {
    "mean-image": ("mean-image", {}),
    "ridge": ("ridge", {}),
    "decoder, ResSFL's N0C16": ("decoder", RESSFL),
    "decoder": ("decoder", DECODER),
    "map": ("map", MAP),
    "stack": ("stack", {"attacks": PARTS}),
    "ensemble": ("ensemble", {"attacks": PARTS}),
    "learned-step of map": ("learned-step", LEARNED),
    "map of it": ("map", BOTH),
    "stack of all": ("stack", {"attacks": PARTS + MORE}),
    "white-box": ("white-box", {"misfit": ("plain", "whitened"), "iterations": 200, "rehearsal": 2, "lr": (0.1,)}),
    "learned-step": ("learned-step", {"attack": "decoder", "options": DECODER}),
}


def main(
    split: Positional[Path],
    data: str,
    only: tuple[str, ...] = (),
    private: int = 200,
    auxiliary: int = 0,
    n_releases: int = 1,
    seed: int = 0,
) -> None:
    """Attack a split folder.

    Args:
        split: The split folder.
        data: The data set, of which the attacker holds the auxiliary part.
        only: Rows of the table; all if empty.
        private: Private images.
        auxiliary: The first so many of the attacker's images; 0 for all.
        n_releases: Releases of each private image; with more than one, every attack is given their mean.
        seed: Seed of the data and of the attackers.
    """
    opened, parts = open_split(split), load(data, None, seed)
    parts = dataclasses.replace(parts, auxiliary=parts.auxiliary.take(auxiliary or None))
    view = view_of(opened, Access.WHITE_BOX, parts.auxiliary, seed=seed)
    attack_all(view, parts, {label: SUITE[label] for label in only or SUITE}, private, n_releases, seed)


def attack_all(view: View, parts: Splits, suite: Suite, private: int, n_releases: int, seed: int) -> None:
    """Print a row for each attack.

    Args:
        view: What the attacker may touch.
        parts: The data, whose first private images are attacked.
        suite: Name and options of each attack, by the label of its row.
        private: Private images.
        n_releases: Releases of each private image.
        seed: Seed of the intervals.
    """
    images = torch.from_numpy(parts.private.inputs[:private])
    releases = torch.stack([view.query(images) for _ in range(n_releases)]).to(view.device)
    print(f"{'attack':34} {'leakage gain':>22} {'identified':>22} {'SSIM':>6} {'fit':>7} {'invert':>7}")
    for label, (name, options) in suite.items():
        if n_releases > 1:
            name, options = "averaging", {"attack": name, "options": options, "n_releases": n_releases}
        start = time.process_time()
        attack = fitted(ATTACKS.make(name, **options), view)
        end = time.process_time()
        rebuilt = attack.invert_releases(releases).float().cpu()
        invert_s, scored = time.process_time() - end, score(rebuilt, parts, seed)
        gain, hits = scored.leakage_gain, scored.per_input["identification"]
        named = exact_proportion(int(np.sum(hits)), len(hits))
        print(
            f"{label:34} {_percent(gain)} {_percent(named)} {scored.metrics['ssim'].value:6.3f} "
            f"{end - start:5.0f} s {invert_s:5.0f} s",
            flush=True,
        )


def _percent(estimate: Any) -> str:
    return f"{100 * estimate.value:5.1f} % ({100 * estimate.low:4.1f} to {100 * estimate.high:4.1f})"


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
