"""What a plan would do, and how long that takes here, after the same checks as before it is run."""

from collections.abc import Sequence
from pathlib import Path

from cutlayer.experiment.rehearsal import rehearse, told
from cutlayer.experiment.run import check_all, loading
from cutlayer.experiment.spec import Experiment
from cutlayer.models.kept import Say


def forecast(
    experiments: Sequence[Experiment],
    runs: Path,
    *,
    data_root: Path | None,
    weights_root: Path | None,
    say: Say,
    source: Path,
    places: int = 1,
) -> str:
    """The parts of every experiment with their times, for a terminal; see `cutlayer.experiment.rehearsal`.

    Args:
        experiments: Those of one plan.
        runs: Folder of the records; what is finished there is not rehearsed.
        data_root: Folder of the data sets that are not embedded.
        weights_root: Folder of the published weights of metrics.
        say: Called with each line of progress.
        source: File of the plan, which errors name.
        places: How many experiments run at once.

    Raises:
        ConfigError, SplitError, DataError, WithheldError: See `cutlayer.experiment.run.check`; nothing was rehearsed.
    """
    load = loading(data_root)
    check_all(experiments, load, weights_root, say, source)
    return told(experiments, rehearse(experiments, runs, load, say), places)
