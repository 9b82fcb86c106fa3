"""A recorded tap as the attackers get it, and the truth behind it, where that is at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutlayer.attacks.view import LENGTHS, SMASHED
from cutlayer.bounded import read_arrays, reason
from cutlayer.cloud import tap
from cutlayer.data.arrays import ArrayImages
from cutlayer.data.splits import NO_CLASS, Dataset, Splits
from cutlayer.errors import DataError, SplitError
from cutlayer.experiment.measure import arrived
from cutlayer.models.manifest import Manifest
from cutlayer.sequences import padded
from cutlayer.spec import TensorSpec
from cutlayer.wire.codecs.packed import codec_named

Seen = dict[str, NDArray[np.float32]]
"""What passed of each input, ``(n_releases, N, ...)``, by what an attack observes."""


SAID = "said"
"""The array of a record with what was said."""


@dataclass(frozen=True)
class Truth:
    """A file that says what the requests of a tap carried.

    Attributes:
        path: The file.
        record: The arrays that `cutlayer edge --record` wrote; None where the file holds the inputs themselves.
        inputs: The inputs in the order of the requests, as stored; None where the record names them by their places in
            a data set.
    """

    path: Path
    record: Mapping[str, NDArray[Any]] | None
    inputs: NDArray[Any] | None

    def of(self, data: Splits, n: int) -> Splits:
        """The data with the n inputs that were attacked as its private part.

        Raises:
            DataError: The file does not belong to the data, or to the tap.
        """
        if self.inputs is None:
            assert self.record is not None
            private = self.record["part"] == 1
            images, labels = self.record["image"][private], self.record["labels"][private]
            if images.max() >= len(data.private) or (data.private.labels[images] != labels).any():
                raise DataError(
                    f"{self.path} was not recorded with the private part of {data.name}: the classes differ; name the "
                    "same data set and seed as for the device (--data, --seed)."
                )
            return data
        if self.record is None and len(self.inputs) != n:
            raise DataError(
                f"{self.path} holds {len(self.inputs):,} inputs, and {n:,} are attacked; store those of the tap in the "
                "order of its requests, each once, and state with --releases how many times each was sent."
            )
        inputs = self._sentences(data.input) if data.input.is_tokens else self._images(data, n)
        return replace(data, private=Dataset(inputs[:n], np.full(n, NO_CLASS), data.modality), tiles=None)

    def _images(self, data: Splits, n: int) -> NDArray[Any]:
        assert self.inputs is not None
        stored = ArrayImages(self.inputs, data.input.shape, f"{self.path}, array x")
        return np.stack([stored[i] for i in range(n)])

    def _sentences(self, input: TensorSpec) -> NDArray[np.int64]:
        """The ids of tokens, ``(N, t)`` or padded to ``(N, T)``."""
        ids, most, longest = self.inputs, int(input.high or 0), input.shape[0]
        assert ids is not None
        fits = ids.ndim == 2 and ids.dtype.kind in "iu" and 0 < ids.shape[1] <= longest
        if not fits or ids.min() < 0 or ids.max() > most:
            raise DataError(
                f"{self.path}, array {'x' if self.record is None else SAID}, has {ids.dtype} of the shape {ids.shape}; "
                f"sentences are whole numbers from 0 to {most:,}, at most {longest} in each row: the ids that the "
                "split's tokenizer gives."
            )
        whole: NDArray[np.int64] = padded(ids.astype(np.int64), longest)
        return whole


def read_truth(path: Path) -> Truth:
    """Read a record of `cutlayer edge --record`, or an .npz file with the inputs as ``x``.

    Raises:
        DataError: The file cannot be read, or is neither.
    """
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from None
    if "x" in arrays:
        return Truth(path, None, arrays["x"])
    if not {"id", "part", "image", "release", "labels"} <= arrays.keys():
        raise DataError(
            f"{path} does not say what the requests carried: it is no record of `cutlayer edge --record`, and it has "
            "no array x with the inputs in the order of the requests."
        )
    if SAID in arrays and (n := len(arrays["id"])):
        said = arrays[SAID].shape
        if said[:1] != (n,):
            raise DataError(f"{path} holds what was said as {said}, for {n:,} requests; record it again.")
        # Each sentence that was answered is an input of its own, by its place in the record.
        places = {"part": np.ones(n, np.int64), "image": np.arange(n), "release": np.zeros(n, np.int64)}
        return Truth(path, {**arrays, **places}, arrays[SAID])
    if not (arrays["part"] == 1).any():
        raise DataError(
            f"{path} names no private input; the device sends them with `cutlayer edge --private N`, or says what "
            "--text gives."
        )
    return Truth(path, arrays, None)


def read_tap(
    folder: Path, manifest: Manifest, *, codec: str = "", truth: Truth | None = None, releases: int = 1,
    count: int | None = None, whole_split: bool = True,
) -> tuple[Seen, str, list[str]]:  # fmt: skip
    """What passed of each input.

    With a record of the device, the private inputs are attacked, and the record tells which requests carry the same
    one. Without it, nothing in a tap tells that: each sample is an input of its own, in the order of arrival, unless
    the attacker knows how many rounds the device made.

    Args:
        folder: The folder that `cutlayer cloud --tap` wrote.
        manifest: The split that the attacker holds.
        codec: Name of the codec; what the requests say if empty.
        truth: What is known of the requests.
        releases: Without a record: the number of rounds in which the device sent the same inputs in the same order.
        count: Attack the first so many inputs; all if None.
        whole_split: Whether the attacker holds the split folder, whose version is that of the requests, and not the
            file of a head alone, of which only the shape can be compared.

    Returns:
        What passed, the name of the codec, and what a reader should know of the tap.

    Raises:
        SplitError: The tap was recorded for another split.
        DataError: The folder holds no tap, a damaged one, one with what is no finite number, or one that does not fit
            the options.
    """
    wanted = codec_named(codec).name if codec else ""
    names, versions = dict[str, str](), set[str]()

    def check(header: Mapping[str, Any]) -> None:
        if whole_split:
            tap.check_split(folder, header, manifest)
        name = str(header["parameters"].get("codec", "raw"))
        names[name] = _with_group(name, header["parameters"].get("per"))
        if set(names) - ({wanted} if wanted else {name}):
            raise DataError(
                f"The tap {folder} holds requests in the codec {' and '.join(sorted(names))}"
                f"{f', not in {wanted}; leave out --codec' if wanted else '; an attack needs one'}."
            )
        versions.add(header["version"])

    if truth is not None and truth.record is not None:
        seen = arrived(folder, truth.record, check, manifest.length)
    else:
        seen = _in_order(folder, check, releases, count, manifest.length)
    if seen[SMASHED].shape[2:] != manifest.smashed.shape:
        raise SplitError(
            f"The tap {folder} holds smashed data of the shape {seen[SMASHED].shape[2:]}, and the split has "
            f"{manifest.smashed.shape}; name the split folder that was served."
        )
    seen, notes = {kind: values[:, :count] for kind, values in seen.items()}, list[str]()
    _check_finite(folder, seen[SMASHED])
    if not whole_split:
        notes.append("Only the shape of the smashed data tells that the tap belongs to the head.")
    elif "" in versions:
        notes.append(
            "The tap does not say for which split it was recorded, for an older version of cutlayer wrote it; only the "
            "shape of the smashed data was compared."
        )
    named = codec or next(iter(names.values()))
    if not codec and named.partition("+")[0] == "top-k":
        named = _with_share(named, seen[SMASHED])
        notes.append(f"The tap does not say what share of the numbers top-k keeps; {named} fits what arrived.")
    return seen, named, notes


def _check_finite(folder: Path, smashed: NDArray[np.float32]) -> None:
    """Refuse a tap with NaN or infinity, which no server of ours records, and which would spoil every figure."""
    bad = ~np.isfinite(smashed.reshape(*smashed.shape[:2], -1)).all(axis=2)
    if bad.any():
        release, image = (int(place) for place in np.argwhere(bad)[0])
        raise DataError(
            f"The tap {folder} holds NaN or infinity in {int(bad.sum()):,} of {bad.size:,} samples, first in input "
            f"{image} of round {release}; it is damaged, or no server of cutlayer wrote it: record it again."
        )


def _with_group(name: str, per: object) -> str:
    """The name of a codec with the option that stands beside it on the wire."""
    first, plus, packings = name.partition("+")
    return f"{first}:{per}{plus}{packings}" if per == "channel" else name


def _with_share(name: str, smashed: NDArray[np.float32]) -> str:
    """The name of top-k with the greatest share of numbers that arrived in any sample."""
    flat = smashed.reshape(-1, smashed[0, 0].size)
    kept = max(1, int(np.count_nonzero(flat, axis=1).max()))
    first, plus, packings = name.partition("+")
    return f"{first}:{(kept - 0.5) / flat.shape[1]:.9g}{plus}{packings}"  # rounded up to `kept` numbers again


def _in_order(
    folder: Path, check: Callable[[dict[str, Any]], None], releases: int, count: int | None, length: int | None
) -> Seen:
    """Every sample in the order of arrival, dealt out to rounds of equal length."""
    samples, sizes = list[NDArray[np.float32]](), list[float]()
    for header, smashed in tap.read(folder):
        check(header)
        samples += list(smashed if length is None else padded(smashed, length))
        sizes += [header["length"] / len(smashed)] * len(smashed)
        if releases == 1 and count is not None and len(samples) >= count:
            break
    n, rest = divmod(len(samples), releases)
    if rest or not n:
        raise DataError(
            f"The tap {folder} holds {len(samples):,} samples, which make no {releases} rounds of equal length; "
            "--releases states how many times the device sent the same inputs in the same order."
            if samples
            else f"The tap {folder} holds no request; it is what `cutlayer cloud --tap` writes while devices send."
        )
    if len({sample.shape for sample in samples}) > 1:
        raise DataError(f"The tap {folder} holds smashed data of several shapes; attack the requests of one split.")
    smashed = np.stack(samples).astype(np.float32, copy=False)
    return {
        SMASHED: smashed.reshape(releases, n, *smashed.shape[1:]),
        LENGTHS: np.array(sizes, np.float32).reshape(releases, n, 1),
    }
