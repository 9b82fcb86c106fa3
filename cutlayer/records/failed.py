"""`failed.json`: why a trial of a grid has no result. A later success deletes it."""

from __future__ import annotations

import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from cutlayer.bounded import read_json
from cutlayer.records.files import delete, write_json

FAILED = "failed.json"


@dataclass(frozen=True)
class FailedTrial:
    """A trial that ended without a result; the fields are the keys of its file.

    Attributes:
        error: What went wrong: the type of the exception and its sentence.
        traceback: Where in the program, as Python prints it.
        host: Name of the machine.
        when: Time of the failure, ISO 8601.
    """

    error: str
    traceback: str = ""
    host: str = ""
    when: str = ""


def write_failure(folder: Path, error: str, traceback: str = "") -> None:
    """Record in the folder of a run that it failed here and now."""
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(folder / FAILED, asdict(FailedTrial(error, traceback, socket.gethostname(), when)))


def forget_failure(folder: Path) -> None:
    """Delete the record that the run in a folder has failed, if there is one."""
    delete(folder / FAILED)


def read_failure(folder: Path) -> FailedTrial | None:
    """The failure of the trial in a folder; None where it left none. A file that cannot be read is told as such."""
    try:
        content = read_json(folder / FAILED)
        texts = {key: content.get(key, "") for key in ("error", "traceback", "host", "when")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        return FailedTrial(f"{FAILED} cannot be read: {error}")
    return FailedTrial(**{key: text if isinstance(text, str) else str(text) for key, text in texts.items()})
