"""After how many questions a server's log of queries flags each attack that asks, and when an honest client.

    python benchmarks/query_log.py [--seeds 0 1 2] [--budget 5000] [--runs runs]

MNIST, where the victim knows 5 to 9 and the attacker holds 0 to 4; lenet, cut at pool1. The log knows smashed data of
4,000 of the victim's training samples. The attacks ask the real server in this process. An honest client sends samples
of the victim's classes that neither side was trained on. A stranger sends samples of the attacker's own classes.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cutlayer.attacks.answers.view import Kept, Reply
from cutlayer.cloud.query_log import QueryLog
from cutlayer.defenses.base import deployed
from cutlayer.errors import CutlayerError
from cutlayer.experiment.class_service import IN_PROCESS, deploy
from cutlayer.experiment.class_spec import Placed, Victim
from cutlayer.experiment.class_victim import load_classes, train_victim
from cutlayer.experiment.positions import seen_from
from cutlayer.privacy.view import wire
from cutlayer.registry import CLASS_ATTACKS
from cutlayer.tables import Named
from cutlayer.terminal import say

IMAGES = 20
ROWS = ("nearest-auxiliary", "sampling", "genetic", "c2fmi", "rlb-mi", "first-hit", "brep-mi", "label-transfer", "lokt")


def main() -> None:
    """Attack and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--budget", type=int, default=5000)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--prior", default="wgan")
    parser.add_argument("--rows", nargs="+", default=[name for name in ROWS if name in set(CLASS_ATTACKS)])
    asked = parser.parse_args()
    of = Victim("mnist", "lenet", tuple("56789"), cut="pool1")
    print(f"{'seed':>4}  {'who asks':20}{'asked':>9}{'far':>8}{'flagged after':>15}")
    for seed in asked.seeds:
        data = load_classes(of, seed, None)
        victim = train_victim(of, seed, 2, Placed(Named("none")), data, asked.runs, say)
        assert victim.halves is not None
        split = deploy(victim, victim.halves, say)
        receives = wire(split.head(), deployed(split), "raw", [seed, 7])
        usual = np.concatenate([receives(part) for part in np.array_split(data.train.inputs[:4000], 16)])

        def show(who: str, log: QueryLog, seed: int = seed) -> None:
            if not log.clients():
                print(f"{seed:4}  {who:20} asked nothing", flush=True)
                return
            (client,) = log.clients()
            flagged = "not flagged" if client.flagged_after is None else f"{client.flagged_after:,}"
            print(f"{seed:4}  {who:20}{client.asked:9,}{client.far / client.asked:8.1%}{flagged:>15}", flush=True)

        for who, inputs in {"an honest client": data.held_out.inputs, "a stranger": data.auxiliary.inputs}.items():
            log = QueryLog(usual)
            with seen_from(
                "outsider", victim, reply=Reply.SCORES, targets=(0,), transport=IN_PROCESS, queries=log
            ) as view:
                view.service.scores(torch.from_numpy(inputs[: asked.budget]))
            show(who, log)
        kept: dict[Any, Kept] = {}
        for name in asked.rows:
            options = {"prior": asked.prior} if "prior" in CLASS_ATTACKS.options(name) else {}
            attack = CLASS_ATTACKS.make(name, **options)
            # A log of its own for each, and what attacks keep for each other is asked again.
            log, kept = QueryLog(usual), {key: value for key, value in kept.items() if not value.asked}
            try:
                with seen_from(
                    "outsider", victim, reply=min(attack.needs, Reply.SCORES), targets=tuple(range(data.n_private)),
                    seed=seed, kept=kept, transport=IN_PROCESS, queries=log, budget=asked.budget,
                ) as view:  # fmt: skip
                    attack.represent(view, IMAGES)
            except CutlayerError as error:
                say(f"{name}: {error}")
            show(name, log)


if __name__ == "__main__":
    main()
