"""Hostile peers against a server, while a victim asks: a line for each case and lane.

    .venv/bin/python -m tests.hostile.run [--lanes "grpc" "zmq, CURVE"] [--cases "many in flight"] [--seconds 5]

A line says how many tries the attacker made and how they ended, how many of the victim's requests were answered rightly
beside it, the victim's 95th percentile alone and beside the attacker with their ratio, and the resident memory of the
server before, during and after. The run fails if a victim's request is not answered, or the server grows without bound.
"""

import argparse
import os
import tempfile
from pathlib import Path

from tests.hostile.case import cases
from tests.hostile.stage import LANES, Stage, Survival, two_keys, write_slow_split

ALLOWED_GROWTH_BYTES = 768 << 20
"""The budget of unanswered requests, the memory of answers, one more request while it is decoded, and free space."""


def check(survival: Survival) -> None:
    """Fail unless the victim had all of its answers and the server's memory is bounded."""
    assert not survival.beside.errors, survival.beside.errors[:3]
    assert survival.beside.right == len(survival.beside.times_s)
    before, during, after = survival.resident_bytes
    assert max(during, after) - before < ALLOWED_GROWTH_BYTES, (
        f"grown from {before:,} to {during:,} and {after:,} bytes"
    )


def main() -> None:
    """Print a line for each case and lane."""
    known = cases()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", nargs="+", default=list(LANES), choices=list(LANES))
    parser.add_argument("--cases", nargs="+", default=list(known), choices=list(known))
    parser.add_argument("--seconds", type=float, default=5.0, help="of the victim alone, and beside the attacker")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        split, keys = Path(folder) / "split", two_keys(Path(folder) / "keys")
        write_slow_split(split)
        for name in options.cases:
            print(f"{name}: {known[name].what}", flush=True)
            for lane in options.lanes:
                if LANES[lane] not in known[name].transports:
                    continue
                with Stage(split, lane, keys) as stage:
                    stage.ask(0.5)
                    survival = stage.survive(known[name], options.seconds)
                print(f"  {lane:<17} {_words(survival)}", flush=True)
                try:
                    check(survival)
                except AssertionError as error:
                    failed.append(f"{name}, {lane}: {error}")
    assert not failed, "\n".join(failed)


def _words(survival: Survival) -> str:
    outcomes, alone, beside, resident = survival
    ends = ", ".join(f"{n:,} {outcome}" for outcome, n in outcomes.most_common(3))
    before, during, after = (f"{nbytes / 1e6:.0f}" for nbytes in resident)
    return (
        f"tried {outcomes.total():>7,} ({ends}); victim {beside.right} of {len(beside.times_s)}, p95 "
        f"{alone.p95_ms:.1f} ms alone (n={len(alone.times_s)}), {beside.p95_ms:.1f} beside "
        f"({beside.p95_ms / alone.p95_ms:.1f}x); resident {before}, {during}, {after} MB"
    )


if __name__ == "__main__":
    main()
