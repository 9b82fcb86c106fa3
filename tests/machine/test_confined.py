"""Work in a child process."""

import gc
import os

from cutlayer.machine.confined import Limits, confined


class Notes:
    """Part of a cycle; at its end, it writes down the process in which that comes."""

    def __init__(self, path):
        self.path, self.cycle = path, self

    def __del__(self):
        with self.path.open("a") as file:
            file.write(f"{os.getpid()}\n")


def test_the_child_does_not_end_what_its_parent_made(tmp_path):
    """What holds descriptors or threads, such as a channel of gRPC, would take them from the parent."""
    gc.disable()
    try:
        Notes(tmp_path / "ends")
        confined(gc.collect, Limits(), "a file")
        gc.collect()
    finally:
        gc.enable()
    assert (tmp_path / "ends").read_text() == f"{os.getpid()}\n"
    assert confined(gc.isenabled, Limits(), "a file")
