"""Functions that the tests of engines give to them, which any process can import."""

import os
import signal
import time
from pathlib import Path

from cutlayer.errors import ConfigError


def write(path: str, text: str) -> str:
    Path(path).write_text(text)
    return text


def read(path: str) -> str:
    return Path(path).read_text()


def fail() -> None:
    raise ConfigError("The sigma must be a number.")


def stumble() -> None:
    raise ZeroDivisionError("division by zero")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def threads() -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def wait_forever(path: str) -> None:
    """Write down the own process, and wait."""
    part = Path(f"{path}.part")
    part.write_text(str(os.getpid()))
    part.rename(path)
    while True:
        time.sleep(60)


def show_progress() -> int:
    """What torch does where a model is measured, also where no bar is shown."""
    from tqdm import tqdm

    return sum(tqdm(range(3), disable=True))
