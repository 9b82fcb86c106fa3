"""The command that quantizes a head to int8."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from cutlayer.errors import ConfigError
from cutlayer.options import At, Count, DataRoot, Gigabytes, OutFolder, Seconds, Seed, Threads
from cutlayer.registry import DATASETS, MODELS
from cutlayer.terminal import say, tell, tell_lines


def quantize(
    folder: Positional[Annotated[Path, At("folder"), arg(metavar="FOLDER")]],
    /,
    out: OutFolder,
    data: str | None = None,
    calibrate: Count = 100,
    count: Count = 500,
    threads: Threads = 1,
    seed: Seed = 0,
    force: bool = False,
    data_root: DataRoot = None,
    limit_s: Seconds | None = None,
    limit_gb: Gigabytes | None = None,
) -> None:
    """Quantize the head of a split folder to int8, and measure its speed and accuracy on this machine.

    Args:
        folder: Written by `cutlayer split`.
        out: The split folder to write.
        data: A name from `cutlayer list datasets`, random, or the path of a folder or file of data; the
            data set that the split was trained on if left out.
        calibrate: Number of training inputs from which the value ranges are set.
        count: Number of test inputs for the accuracy of both heads.
        threads: Threads of each half.
        seed: Seed of the data splits, the same as for `cutlayer split`.
        force: Replace a split folder that --out names.
        data_root: Folder of the data sets that are not embedded; CUTLAYER_DATA or ./data if left out.
        limit_s: Time in seconds that the whole work may take; 600 if left out.
        limit_gb: Memory in GB that it may take; three quarters of this machine's if left out.
    """
    from cutlayer.machine.confined import confined, limits

    confined(
        lambda: _quantize(folder, out, data, calibrate, count, threads, seed, force=force, data_root=data_root),
        limits(limit_s, limit_gb), folder,
    )  # fmt: skip


def _quantize(
    folder: Path, out: Path, data: str | None, calibrate: int, count: int, threads: int, seed: int, *, force: bool,
    data_root: Path | None,
) -> None:  # fmt: skip
    from cutlayer.data.load import check_taken, open_data
    from cutlayer.data.noise import RANDOM, load_inputs
    from cutlayer.data.splits import unreadable
    from cutlayer.models.files import check_free
    from cutlayer.models.manifest import HEAD_ONNX
    from cutlayer.onnx.int8 import quantize_head
    from cutlayer.profile.int8_effect import compare
    from cutlayer.split_folder import open_split

    float32 = open_split(folder)
    manifest = float32.manifest
    name = data or manifest.data
    if name is None:
        raise ConfigError("The split folder names no data set; name one with --data.")
    if out.resolve() == folder.resolve():
        raise ConfigError(f"--out {out} is the folder itself, which is needed for the comparison; name another folder.")
    check_free(out, replace=force)
    if name == RANDOM:
        splits = load_inputs(manifest.data_inputs, seed)
    else:
        splits = open_data(name, data_root, seed, shape=manifest.input.shape, tokenizer=float32.tokenizer)
        check_taken(splits, manifest.input)
    (train, faults), (test, more) = splits.train.first_readable(calibrate), splits.test.first_readable(count)
    for note in (*splits.notes, *([unreadable([*faults, *more])] if faults or more else [])):
        say(note)
    if not (len(train) and len(test)):
        many = splits.modality.one[1]
        raise ConfigError(f"{name} has {len(train)} training and {len(test)} test {many}; one of each is needed.")
    images, test = train.inputs, test.loaded()[0]
    float32.with_head(out, lambda path: quantize_head(float32.file(HEAD_ONNX), manifest, images, path))
    what = f"{MODELS.label(manifest.model)} cut at {manifest.cut}"
    tell(f"{out}: {what}, head in int8, calibrated on {len(images)} {splits.modality.one[1]} of {DATASETS.label(name)}")
    tell_lines(compare(float32, open_split(out), test.inputs, test.labels, threads=threads))
