"""The `cutlayer` command."""

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from cutlayer import __version__
from cutlayer.errors import EXTRAS, CutlayerError, missing_package, unwritable
from cutlayer.machine.command import commanded
from cutlayer.machine.ranks import joined
from cutlayer.stopping import heed, leave
from cutlayer.terminal import listening, say, tell, tell_lines

if TYPE_CHECKING:
    from tyro.extras import SubcommandApp

ABOUT = f"A testbed for split learning, version {__version__}. --version prints the version alone."


def commands() -> dict[str, Callable[..., None]]:
    """The commands by name. Imported here, for signals are heeded before that: it takes seconds on a small device."""
    from cutlayer.commands import (
        attack,
        audit,
        checks,
        class_level,
        experiments,
        gradients,
        grid,
        live,
        models,
        profile,
        quantize,
        records,
        sides,
        training,
    )  # fmt: skip

    named = (
        models.cuts, models.split, quantize.quantize, profile.profile, checks.compare, checks.doctor,
        sides.cloud, sides.edge, sides.certs, experiments.demo, experiments.run, grid.grid, attack.attack, audit.audit,
        training.train, training.leaks, gradients.gradients, class_level.class_level, live.live,
        experiments.report, records.index, records.export,
    )  # fmt: skip
    return {"list": models.list_names, **{command.__name__.replace("_", "-"): command for command in named}}


@functools.cache
def app() -> "SubcommandApp":
    """The commands, whose options are read from their arguments, and checked before they run."""
    from tyro.extras import SubcommandApp

    from cutlayer.options import checked

    app = SubcommandApp()
    for name, command in commands().items():
        app.command(name=name)(checked(command))
    return app


def main() -> None:
    """Run the command line. An error that the user can fix gives one sentence on standard error and exit code 2.

    The notes of an error go to standard output: what was measured until then. Ctrl-C gives exit code 130, SIGTERM 143
    and SIGHUP 129, where they are not the planned end of a command.
    """
    try:
        heed()
        _run()
    except CutlayerError as error:
        _end(error, str(error))
    except ModuleNotFoundError as error:
        # Commands import what they need; a device has no torch. Any other missing module is a fault of ours.
        if (error.name or "").partition(".")[0] not in EXTRAS:
            _blame_packages(error)
            raise
        _end(error, f"This command cannot run here: {missing_package(error)}")
    except KeyboardInterrupt as stop:
        _print_notes(stop)
        leave(stop)
    except BrokenPipeError:
        # The reader of the output has closed it.
        _discard_output()
    except OSError as error:
        # What libraries and the output itself write; our own files have a sentence already.
        if (sentence := unwritable(error)) is None:
            raise
        _end(error, sentence)
    except Exception as error:
        _blame_packages(error)
        raise


def _run() -> None:
    # Threads that spin while they wait make torch ten times slower if other processes use the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.argv[1:] == ["--version"]:
        tell(f"cutlayer {__version__}")
        return
    from tyro.conf import OmitArgPrefixes

    from cutlayer.progress import told

    with listening(), told(say), commanded(["cutlayer", *sys.argv[1:]]), joined(sys.argv[1:]):
        app().cli(prog="cutlayer", description=ABOUT, config=(OmitArgPrefixes,))
    sys.stdout.flush()


def _blame_packages(error: Exception) -> None:
    """Say which packages are missing or too old, where that is why the command cannot run, or may be.

    The doctor needs none of them to say so.
    """
    from cutlayer.doctor.finding import tell_findings
    from cutlayer.doctor.packages import check_packages, unfit_packages

    unfit = [f"{finding.says}; {finding.do}." for finding in unfit_packages()]
    # protobuf has an error of its own for generated code that is newer than itself.
    if unfit and (isinstance(error, ImportError) or type(error).__name__ == "VersionError"):
        if sys.argv[1:2] == ["doctor"]:
            tell_findings(check_packages())
        _end(error, f"This command cannot run here: {' '.join(unfit)}")
    for words in unfit:
        error.add_note(f"The reason may be this: {words}")


def _end(error: Exception, sentence: str) -> None:
    try:
        _print_notes(error)
        sys.stdout.flush()
    except OSError:
        _discard_output()
    say(f"cutlayer: {sentence}")
    sys.exit(2)


def _print_notes(error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        tell_lines(note)


def _discard_output() -> None:
    """Lead what is still buffered nowhere, for Python writes it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
