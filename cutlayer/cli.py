"""The `cutlayer` command."""

import os
import sys

import tyro
from tyro.conf import OmitArgPrefixes

from cutlayer import __version__
from cutlayer.commands import checks, experiments, models, profile, quantize, sides
from cutlayer.errors import EXTRAS, CutlayerError, missing_package
from cutlayer.options import checked
from cutlayer.progress import told
from cutlayer.terminal import listening, say, tell, tell_lines

ABOUT = f"A testbed for split learning, version {__version__}. --version prints the version alone."

COMMANDS = {
    "list": models.list_names,
    **{
        command.__name__: command
        for command in (
            models.cuts, models.split, quantize.quantize, profile.profile, checks.compare, checks.doctor,
            sides.cloud, sides.edge, sides.certs, experiments.demo, experiments.run, experiments.report,
        )
    },
}  # fmt: skip

app = tyro.extras.SubcommandApp()
for name, command in COMMANDS.items():
    app.command(name=name)(checked(command))


def main() -> None:
    """Run the command line. An error that the user can fix gives one sentence on standard error and exit code 2.

    The notes of an error go to standard output: what was measured until then.
    """
    # Threads that spin while they wait make torch ten times slower if other processes use the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.argv[1:] == ["--version"]:
        tell(f"cutlayer {__version__}")
        return
    try:
        with listening(), told(say):
            app.cli(prog="cutlayer", description=ABOUT, config=(OmitArgPrefixes,))
    except CutlayerError as error:
        _print_notes(error)
        say(f"cutlayer: {error}")
        sys.exit(2)
    except ModuleNotFoundError as error:
        # Commands import what they need; a device has no torch. Any other missing module is a fault of ours.
        if (error.name or "").partition(".")[0] not in EXTRAS:
            raise
        say(f"cutlayer: This command cannot run here: {missing_package(error)}")
        sys.exit(2)
    except KeyboardInterrupt as stop:
        _print_notes(stop)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of the output has closed it; discard what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_notes(error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        tell_lines(note)


if __name__ == "__main__":
    main()
