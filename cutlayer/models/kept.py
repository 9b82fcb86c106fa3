"""Networks that are trained once and kept in a file, for whoever would train the same one."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from cutlayer.bounded import check_regular, reason
from cutlayer.machine.files import leftovers, new_file
from cutlayer.machine.lock import only_one
from cutlayer.records.files import delete

Say = Callable[[str], None]
Model = TypeVar("Model", bound=nn.Module)


def remembered(path: Path, build: Callable[[], Model], train: Callable[[], Model], say: Say) -> Model:
    """A model with the weights in a file; where there is none, or it is damaged, the model is trained and kept."""
    # Who comes second waits, and takes the model.
    with only_one(path, say=say):
        if path.exists() or path.is_symlink():
            model = build()
            try:
                check_regular(path)
                model.load_state_dict(load_file(path))
                return model
            except (OSError, SafetensorError, RuntimeError) as error:
                say(f"{path} is damaged ({reason(error)}): training again")
                delete(path)
        model = train()
        for killed in leftovers(path):
            delete(killed)
        with new_file(path) as file:
            file.write(save(model.state_dict()))
        return model
