"""The command line of the long forms: options with their defaults, and a run for each transport in a new folder."""

import argparse
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path


def runs(description: str | None, **defaults: float) -> Iterator[tuple[str, Path, Namespace]]:
    """Yield each transport that the user names with a folder for its run, which is deleted afterwards."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transport", nargs="+", default=["zmq", "grpc"])
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    options = parser.parse_args()
    for transport in options.transport:
        with tempfile.TemporaryDirectory() as folder:
            yield transport, Path(folder), options
