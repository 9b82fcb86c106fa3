"""The files of a profile: `profile.json`, which is read again, and `profile.csv` for other programs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from cutlayer.bounded import read_json, reason
from cutlayer.errors import ConfigError
from cutlayer.foreign import cell
from cutlayer.records.dataclass_json import dump, load
from cutlayer.records.files import write_json, write_text
from cutlayer.records.profile import SCHEMA, Profile
from cutlayer.trace import STAGES

JSON, CSV = "profile.json", "profile.csv"


def read(path: Path) -> Profile:
    """The profile in a file, or in the `profile.json` of a folder.

    Raises:
        ConfigError: There is none, or it has another format.
    """
    file = path / JSON if path.is_dir() else path
    try:
        data = read_json(file)
        if data["schema"] != SCHEMA:
            raise ConfigError(
                f"{file} has format {data['schema']!r:.20}; format {SCHEMA} is read. Run `cutlayer profile` again."
            )
        profile = load(Profile, data)
        if not profile.cuts:
            raise ValueError("no cut")
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist; `cutlayer profile MODEL --out {path}` writes it.") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {reason(error)}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise ConfigError(f"{file} is not a profile, or is damaged; run `cutlayer profile` again.") from None
    return profile


def save(folder: Path, profile: Profile) -> None:
    """Write `profile.json` and `profile.csv`, each by an atomic rename."""
    write_json(folder / JSON, dump(profile))
    write_text(folder / CSV, _table(profile))


def _table(profile: Profile) -> str:
    """One row for each cut, network and codec."""
    text = io.StringIO()
    # Texts in quotation marks, for programs that separate cells by other signs than a comma.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    columns = ["cut", "codec", "network", "source", "n", "end_to_end_ns", "end_to_end_p95_ns", "end_to_end_p99_ns"]
    columns += [*(f"{stage}_ns" for stage in STAGES), "message_bytes", "answer_bytes"]
    writer.writerow([*columns, "peak_rss_bytes", "params", "macs", "accuracy", "leakage", "identified"])
    for cut in profile.cuts:
        for network, requests in cut.networks.items():
            for codec, request in requests.items():
                times, of_codec = request.end_to_end_ns, cut.codecs[codec]
                quality = of_codec.quality
                judged = quality.accuracy, quality.leakage, quality.identified
                values = [
                    cut.cut, codec, network, request.source, times.n, times.p50, times.p95, times.p99,
                    *(round(request.stages_ns[stage]) for stage in STAGES),
                    of_codec.message_bytes, of_codec.answer_bytes, cut.peak_rss_bytes, cut.params, cut.macs,
                    *(estimate and estimate.value for estimate in judged),
                ]  # fmt: skip
                writer.writerow(map(cell, values))
    return text.getvalue()
