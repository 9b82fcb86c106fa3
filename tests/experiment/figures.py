"""All that a run has found and that is no time, no memory and no load: what must not depend on who ran it."""

from cutlayer.bounded import read_arrays, read_json

TIMES = {"fit_s", "invert_s", "seconds", "stages", "end_to_end", "first_request_ns", "added_ns"}
MACHINE = {"edge_peak_rss_bytes", "energy_j", "energy_source", "others"}
FRAMED = {"message_bytes", "kernel_bytes"}
"""Bytes of messages, which hold times as numbers of different lengths."""


def figures(folder):
    """The record of a run without these, and the bytes of its arrays."""
    found = _without(read_json(folder / "result.json"))
    found["flags"] = [flag for flag in found["flags"] if flag["flag"] != "busy-machine"]
    arrays = {name: read_arrays(folder / f"{name}.npz") for name in ("answers", "scores", "reconstructions")}
    stored = {f"{name}/{key}": array.tobytes() for name, entries in arrays.items() for key, array in entries.items()}
    assert any("rebuilt" in key for key in stored)
    return found, stored


def _without(value):
    if isinstance(value, dict):
        return {key: _without(entry) for key, entry in value.items() if key not in TIMES | MACHINE | FRAMED}
    return [_without(entry) for entry in value] if isinstance(value, list) else value
