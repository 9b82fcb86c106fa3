"""Corrupted frames for every decoder and a server of each transport, damaged files for every reader: the long form.

    .venv/bin/python -m tests.fuzz.run [--frames 200000] [--live 20000] [--files 7000] [--models 5000] [--seed 0]

Fails on anything but DecodeError or the wire's own error reply, on a file for which a reader raises another error than
cutlayer's, on a frame that gets no answer, on a hang, on memory that grows, and on a server that gives other logits
afterwards. The seed repeats a run.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz import decoders, files, models, servers
from tests.tiny_split import write_split


def main() -> None:
    """Print one line for each reader and server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200_000, help="for the decoders, shared out among them")
    parser.add_argument("--live", type=int, default=20_000, help="for a server, at each way to reach it")
    parser.add_argument("--files", type=int, default=7_000, help="damaged, for the readers of our own files")
    parser.add_argument("--models", type=int, default=5_000, help="ONNX files")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    each = -(-options.frames // len(decoders.READERS))
    for reader in decoders.READERS:
        decoders.fuzz(reader, each // 10, options.seed + 1)
        small = decoders.resident_bytes()
        outcomes = decoders.fuzz(reader, each, options.seed)
        grown = decoders.resident_bytes() - small
        _say(reader, outcomes, f"grown by {grown / 1e6:.1f} MB")
        assert grown < servers.ALLOWED_GROWTH_BYTES, f"{reader}: {grown:,} bytes more than after a tenth of the frames"
    for reader in files.READERS:
        _say(
            reader, files.fuzz(reader, -(-options.files // len(files.READERS)), options.seed), "no other error", "files"
        )
    with tempfile.TemporaryDirectory() as folder:
        _say("ONNX files", models.fuzz(Path(folder), options.models, options.seed), "within the limits", "files")
    for transport in servers.FUZZERS:
        outcomes = servers.bombard_training(transport, options.live, options.seed)
        _say(f"live server of training, {transport}", outcomes, "still answers, not grown")
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder))
        for transport in servers.FUZZERS:
            for way, outcomes in servers.bombard(Path(folder), transport, options.live, options.seed).items():
                _say(f"live server, {way.replace('_', ' ')}", outcomes, "still answers, not grown")


def _say(what: str, outcomes: Counter[str], then: str, unit: str = "frames") -> None:
    counts = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(outcomes.items()))
    print(f"{what:<32} {sum(outcomes.values()):>8,} {unit}: {counts}; {then}", flush=True)


if __name__ == "__main__":
    main()
