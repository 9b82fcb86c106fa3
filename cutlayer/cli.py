"""The `cutlayer` command."""

import os
import sys

import tyro
from tyro.conf import OmitArgPrefixes

from cutlayer.commands import checks, experiments, models, profile, quantize, sides
from cutlayer.errors import CutlayerError

app = tyro.extras.SubcommandApp()
app.command(name="list")(models.list_names)
for command in (
    models.cuts, models.split, quantize.quantize, profile.profile, checks.compare, checks.doctor,
    sides.cloud, sides.edge, sides.certs, experiments.run, experiments.report,
):  # fmt: skip
    app.command(command)


def main() -> None:
    """Entry point. One sentence on standard error and exit code 2 for anything that the user can mend."""
    # Threads that spin while they wait make torch ten times slower when anything else runs on the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app.cli(prog="cutlayer", config=(OmitArgPrefixes,))
    except CutlayerError as error:
        print(f"cutlayer: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has seen enough; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
