"""The plans that come with cutlayer: `experiments/` in a checkout, and inside the installed package."""

import tomllib
from importlib import resources
from pathlib import Path

from cutlayer.errors import ConfigError, near

FOLDER = Path(str(resources.files("cutlayer"))) / "experiments"


def names() -> list[str]:
    """The name of every example, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def path(name: str) -> Path:
    """The file of an example.

    Raises:
        ConfigError: There is no such example; the message lists similar names.
    """
    if name not in (known := names()):
        raise ConfigError(f"There is no example named {name!r}; {near(name, known)}")
    return FOLDER / f"{name}.toml"


def summary(name: str) -> str:
    """One line for `cutlayer list`: the first line of the file, and the data set and the model of the plan."""
    text = path(name).read_text("utf-8")
    plan, first = tomllib.loads(text), text.partition("\n")[0]
    return f"{first.removeprefix('#').strip()} [data={plan['data']}, model={plan['model']}]"
