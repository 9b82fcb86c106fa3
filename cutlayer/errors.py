"""Every error that cutlayer raises on purpose. The text is one sentence: what is wrong and what to do.

The kinds::

    CutlayerError
    ├── ConfigError         an unknown name, option, key or type in what the user wrote
    ├── DataError           a data set that is missing or damaged, an input that the head does not take
    ├── SplitError          a model that cannot be cut there, a damaged split folder, two sides that differ
    ├── QueueError          the device's queue is full or in use, or its disk is full
    ├── WriteError          a file or folder that cannot be written: a full disk, no permission
    ├── BusyError           a file or folder that another process writes at this moment
    ├── AlarmError          a client's detector suspects the server, and is to end the training then
    ├── WithheldError       an attack reached for a capability that its threat model withholds
    └── WireError           anything between the two processes
        ├── DecodeError     bytes that are not a message of this protocol
        ├── Unreachable     no answer at the address, or the peer closed the connection
        │   └── ConnectionLost   while it worked on a request, which may be sent again
        │       └── StreamReset  by something between the two, such as a proxy
        ├── DeadlineExceeded     no answer within the time allowed
        └── Refused         the server answered with an error code and a sentence

The command line prints the sentence and ends with exit code 2.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

from cutlayer.foreign import shown

MOST = 4000
"""Letters of a message that are shown."""


class CutlayerError(Exception):
    """Base of all errors raised on purpose. The text may quote others, and is shown as `cutlayer.foreign` does."""

    def __str__(self) -> str:
        return shown(super().__str__(), MOST)


class ConfigError(CutlayerError):
    """An unknown name, option or key, or a value of the wrong type."""


class DataError(CutlayerError):
    """A data set is missing or damaged, and the message names the file; or an input is none that the head takes."""


class SplitError(CutlayerError):
    """The model cannot be cut there, a split folder is damaged, or two sides hold different splits."""


class QueueError(CutlayerError):
    """A device's queue of unsent requests is full or in use, or its disk is full."""


class WriteError(CutlayerError):
    """A file or folder cannot be written; the message names it and the reason."""

    @classmethod
    def of(cls, path: object, error: OSError) -> WriteError:
        """The error for what the operating system refused at this path."""
        reason = (error.strerror or str(error)).rstrip(".")
        advice = _ADVICE.get(error.errno or 0, "name another one")
        return cls(f"{path} cannot be written: {reason[:1].lower()}{reason[1:]}; {advice}.")


class BusyError(CutlayerError):
    """Another process writes the same file or folder; the message says which process."""


class AlarmError(CutlayerError):
    """A detector of a client suspects the server, and the plan says to train no more then."""


class WithheldError(CutlayerError):
    """An attack reached for a capability that its threat model withholds."""


class WireError(CutlayerError):
    """Anything that goes wrong between the device and the server."""


class DecodeError(WireError):
    """The bytes are not a message of this protocol."""


class Unreachable(WireError):
    """There is no answer at the address, or the peer closed the connection.

    Attributes:
        says: What is wrong, without a full stop where `do` is given.
        do: Advice, without a full stop; may be empty.
    """

    def __init__(self, says: str, do: str = "") -> None:
        super().__init__(f"{says}; {do}." if do else says)
        self.says, self.do = says, do

    @classmethod
    def at(cls, address: object, waited_s: float, why: str = "", do: str = "") -> Unreachable:
        """The error for an address at which nothing answered in this time in seconds, and the reason if known."""
        return cls(
            f"No server answers at {address} (waited {waited_s:.3g} s){why and ': '}{why}",
            do or "check that `cutlayer cloud` runs there and that no firewall blocks the port",
        )

    @classmethod
    def closed(cls, address: object) -> Unreachable:
        """The error for a request on a connection that this side has closed."""
        return cls(f"The connection to {address} was closed on this side.")


class ConnectionLost(Unreachable):
    """The connection was lost while the peer had a request to answer."""


class StreamReset(ConnectionLost):
    """The stream of requests was ended, by something between the two or by the peer, and the connection was not."""


class DeadlineExceeded(WireError):
    """There was no answer within the time allowed."""


class Refused(WireError):
    """The server answered with an error.

    Attributes:
        code: Short upper-case name, one of those listed in `proto/README.md`.
        retry_after_ms: Time in ms after which to send the request again; 0 where that does not help.
    """

    def __init__(self, code: str, message: str, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.code, self.retry_after_ms = shown(code), retry_after_ms


_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space, or name another folder"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "name a place where you may write"),
}
"""What to do where a disk, a quota or a file is full, or the user may not write, by the code of the system."""


def unwritable(error: OSError) -> str | None:
    """The sentence for an error of the disk that the user can mend; None for any other one."""
    if error.errno not in _ADVICE:
        return None
    return str(WriteError.of(error.filename or "A temporary file or the output", error))


EXTRAS = {
    "cma": "cma",
    "cryptography": "certs",
    "matplotlib": "lab",
    "mlflow": "mlflow",
    "onnx": "cut",
    "onnxruntime": "onnx",
    "onnxscript": "lab",
    "PIL": "lab",
    "piq": "lab",
    "pyarrow": "parquet",
    "ray": "ray",
    "segno": "live",
    "skimage": "lab",
    "sklearn": "lab",
    "starlette": "live",
    "submitit": "slurm",
    "tensorboard": "tensorboard",
    "tenseal": "he",
    "tokenizers": "text",
    "torch": "lab",
    "torchmetrics": "lab",
    "torchvision": "lab",
    "uvicorn": "live",
    "websockets": "live",
    "zstandard": "zstd",
}
"""The extra of cutlayer that brings a package, by the name under which the package is imported."""


def missing_package(error: ModuleNotFoundError) -> str:
    """Which package is missing, and what to install, as the end of an error message."""
    package = (error.name or str(error)).partition(".")[0]
    if package in EXTRAS:
        return f"{package} is not installed; install cutlayer[{EXTRAS[package]}]."
    return f"{package} is not installed; install the package that has it."


def near(name: str, known: Iterable[str]) -> str:
    """The part of an error message that lists what exists, the nearest names first."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known)}." if known else "there are none."
