"""Sentences of several lengths at one cut: what each of them costs, where the head takes sequences of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutlayer.errors import ConfigError
from cutlayer.models.manifest import MANIFEST
from cutlayer.network.profiles import Network
from cutlayer.percentiles import percentile
from cutlayer.profile.cost_model import Transport, predict, typical
from cutlayer.profile.measure import DEADLINE_S, LEAST_REQUESTS, REQUESTS_SHARE, columns, device, served
from cutlayer.profile.plan import LEAST, Plan, Settings
from cutlayer.profile.prepare import Candidate
from cutlayer.profile.timing import Timing
from cutlayer.records.dataclass_json import load
from cutlayer.records.profile import LengthRecord
from cutlayer.registry import MODELS
from cutlayer.sequences import PAD
from cutlayer.spec import TensorSpec, token_spec
from cutlayer.split_folder import open_split
from cutlayer.trace import Columns


@dataclass(frozen=True)
class LengthMeasurements:
    """Sentences of one length at one cut, in one round: the head alone, and whole requests by codec."""

    tokens: int
    head: Timing
    requests: dict[str, Columns]


def sentence_spec(plan: Plan) -> TensorSpec | None:
    """What the head takes, where the plan names lengths or the model is a split folder of sentences; else None.

    Raises:
        ConfigError: The plan names lengths that the model does not take.
    """
    if (Path(plan.model) / MANIFEST).exists():
        manifest = open_split(Path(plan.model)).manifest
        if manifest.length is not None and max(plan.tokens, default=0) <= manifest.length:
            return manifest.input
        if plan.tokens:
            takes = f"at most {manifest.length} tokens" if manifest.length else f"{manifest.input}, no sentences"
            raise ConfigError(f"--tokens names {max(plan.tokens)}, and the head of {plan.model} takes {takes}.")
        return None
    if not plan.tokens:
        return None
    if not MODELS.takes(plan.model):
        raise ConfigError("--tokens goes with a model by name, or with the split folder of a text model.")
    from cutlayer.models.zoo import default_input

    own = default_input(plan.model)
    if not own.is_tokens:
        raise ConfigError(f"--tokens goes with a model that takes sentences, and {plan.model} takes {own}.")
    return token_spec(max(plan.tokens), int(own.high or 0) + 1)


def stream(sentences: NDArray[np.int64], length: int, n: int) -> NDArray[np.int64]:
    """Sentences of one length ``(n, length)``: the tokens of these, one after the other, again and again."""
    tokens = sentences[sentences != PAD]
    return np.resize(tokens, (n, length))


def measure_lengths(candidate: Candidate, sentences: Path, plan: Plan, settings: Settings) -> list[LengthMeasurements]:
    """Measure a cut with sentences of each length, in fresh processes.

    Args:
        candidate: The cut.
        sentences: File (.npy) of sentences without padding, as long as the longest length.
        plan: It names the lengths.
        settings: How long each of them may take.
    """
    with (
        served(candidate, settings) as address,
        device(candidate, sentences, settings) as (run, _),
    ):
        measured = []
        for tokens in plan.tokens:
            timing = run("head", samples=settings.samples, seconds=settings.seconds / 2, least=LEAST, tokens=tokens)
            requests = {
                codec: columns(
                    run(
                        "requests", address=address, codec=codec, samples=settings.samples, security={},
                        seconds=REQUESTS_SHARE * settings.seconds / 2, least=5 * LEAST_REQUESTS, request_s=DEADLINE_S,
                        tokens=tokens,
                    )
                )
                for codec in settings.codecs
            }  # fmt: skip
            measured.append(LengthMeasurements(tokens, load(Timing, timing), requests))
    return measured


def length_record(
    measured: LengthMeasurements, transport: Transport, networks: Sequence[Network], smashed_bytes: int
) -> LengthRecord:
    """The figures of one length; those over networks are computed.

    Args:
        measured: What was measured.
        transport: The transport as fitted to the whole profile.
        networks: The networks of the profile.
        smashed_bytes: Bytes of the smashed data of one token.
    """
    typicals = typical(measured.requests)

    def p50(times: object) -> int:
        median = percentile(np.asarray(times, np.int64), 50)
        assert median is not None
        return median

    return LengthRecord(
        tokens=measured.tokens,
        bytes=measured.tokens * smashed_bytes,
        head_ns=p50(measured.head.ns),
        n=len(measured.head.ns),
        message_bytes={codec: int(request.n_bytes) for codec, request in typicals.items()},
        end_to_end_ns={codec: p50(of_codec["end_to_end_ns"]) for codec, of_codec in measured.requests.items()},
        networks_ns={
            network.name: {
                codec: predict(request, transport, network)["end_to_end"] for codec, request in typicals.items()
            }
            for network in networks
        },
    )
