"""What an audit says to the requirements of the OWASP AISVS that concern a split model, one by one.

Source: OWASP Artificial Intelligence Security Verification Standard, version 1.0 (2026), chapters C3, C4 and C11, in
https://github.com/OWASP/AISVS, folder 1.0, which is locked; its text was read at the commit 1776d31, in the copy that
is kept beside a translation. The four requirements on federated learning stood in chapter C12 of drafts before 1.0
(commit 0b0d6fb) and are not in 1.0. Licensed CC BY-SA 4.0 by the AISVS project; the requirements are paraphrased here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cutlayer.records.audit import BUDGET, AuditRecord
from cutlayer.report.audit.verdict import numbers_sent
from cutlayer.report.kit.wording import IDENTIFIED, LEAKAGE_GAIN, access_name

VERSION = "1.0"
SOURCE = "https://github.com/OWASP/AISVS/tree/main/1.0/en"

MEASURED, IN_PART, NOT_ANSWERED, NOT_APPLICABLE = "measured", "in part", "not answered", "does not apply"
"""What an audit has for a requirement."""

FOREWORD = (
    "Version 1.0 has no requirement that names split learning. Section C4.3 is about edge computing, federated "
    "learning and several sites. Section C11.2 is about membership inference and model inversion, and the project's "
    "research notes on C11.2.1 ask to test the intermediate embeddings that pass between the parts of a split model. "
    "The requirements below are those that a split model meets. A verifier needs more than this page for most of them."
)


@dataclass(frozen=True)
class Answer:
    """What the audit says to one requirement.

    Attributes:
        state: `MEASURED`, `IN_PART`, `NOT_ANSWERED` or `NOT_APPLICABLE`.
        text: Why, in sentences.
        links: Anchors of the figures on the page, with the words of the link.
    """

    state: str
    text: str
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Requirement:
    """A requirement.

    Attributes:
        number: Its identifier, with the version: ``v1.0-C11.2.1``.
        level: 1, 2 or 3.
        asks: What it asks for, in our words.
        answer: What an audit says to it.
    """

    number: str
    level: int
    asks: str
    answer: Callable[[AuditRecord], Answer]


def _formats(record: AuditRecord) -> Answer:
    return Answer(
        IN_PART,
        "cutlayer opens ONNX, safetensors and JSON, none of which runs code when it is read. A split with parts of the "
        "user's own imports their source file, whose hash split.json states. How the deployed device and server load "
        "their halves is not seen here.",
        (("hashes", "the files"),),
    )


def _signed(record: AuditRecord) -> Answer:
    return Answer(
        NOT_ANSWERED,
        "cutlayer signs no file. The hashes of this page name what was audited, and say nothing of who made it.",
        (("hashes", "the hashes"),),
    )


def _checksums(record: AuditRecord) -> Answer:
    if record.foreign:
        return Answer(
            NOT_ANSWERED,
            "The head came as a file of another program: whether a device verifies it before it loads it is not seen.",
            (("hashes", "its hash"),),
        )
    return Answer(
        IN_PART,
        "cutlayer's device compares each file of the split folder with the SHA-256 in split.json before it loads it, "
        "and a server refuses a device with another split. The checksums are there; a signature is not.",
        (("hashes", "the hashes"),),
    )


def _authenticated(record: AuditRecord) -> Answer:
    return Answer(
        NOT_ANSWERED,
        "An audit looks at what is sent, not at the connection. cutlayer offers mutual TLS, CURVE and tokens and "
        "refuses plain text between machines unless told otherwise; whether this deployment uses them is not seen.",
    )


def _isolated(record: AuditRecord) -> Answer:
    return Answer(NOT_ANSWERED, "The device's and the server's operating system are not seen here.")


def _weights_kept(record: AuditRecord) -> Answer:
    black, white = record.worst("BLACK_BOX"), record.worst("WHITE_BOX")
    text = "How the device stores its half is not seen here."
    if record.access != "WHITE_BOX":
        return Answer(NOT_ANSWERED, f"{text} What its weights would add for an attacker could not be measured either.")
    if black and white:
        text += (
            f" Of all that was run, the leakage gain is {LEAKAGE_GAIN.value(white.leakage_gain.value)} with the "
            f"weights, and {LEAKAGE_GAIN.value(black.leakage_gain.value)} without."
        )
    return Answer(NOT_ANSWERED, text, (("access", "who gets what"),))


def _quantized(record: AuditRecord) -> Answer:
    return Answer(
        IN_PART,
        "This audit is of the very files below, with their precision. It says nothing of another version: audit the "
        "folder that `cutlayer quantize` writes by itself.",
        (("hashes", "the files"),),
    )


def _known_attacks(record: AuditRecord) -> Answer:
    ran = len({row.attack for row in record.attacks} | {found.attack for found in record.identification})
    out_of_time = sum(entry.why == BUDGET for entry in record.not_tried)
    return Answer(
        MEASURED if not out_of_time else IN_PART,
        f"For attacks that rebuild or identify inputs: {ran} of the kinds that cutlayer knows were run"
        f"{f', and {out_of_time} were left out for want of time' if out_of_time else ''}. Attacks that change the "
        "model's answers (evasion) and poisoning are not part of it.",
        (("attacks", "every attack"), ("not-tried", "what was not tried")),
    )


def _inversion(record: AuditRecord) -> Answer:
    worst, who = record.worst(), record.identifies()
    parts = []
    if worst:
        parts.append(
            f"the worst attack has a leakage gain of {LEAKAGE_GAIN.value(worst.leakage_gain.value)} "
            f"({worst.label}, {access_name(worst.access)})"
        )
    if who:
        parts.append(f"{IDENTIFIED.value(who.top_1.value)} of inputs are picked from {who.candidates:,}")
    return Answer(
        IN_PART,
        f"What leaves the device is the output in question here, and its inversion is measured: "
        f"{', and '.join(parts) or 'no attack had a figure'}. Single attributes, such as a diagnosis, were not looked "
        "for: `cutlayer run` does so by probes. What the server returns to users is not seen.",
        (("access", "who gets what"), ("identified", "the watch list"), ("ceiling", "the ceiling")),
    )


def _rates(record: AuditRecord) -> Answer:
    gone = record.ceiling.gone_after
    text = "Rate limits of the service are not seen here."
    if gone is not None:
        text += f" For their size: after about {gone:,.0f} releases of one input, the noise hides it no longer."
    elif record.ceiling.none == "deterministic":
        text += " For their size: one release of an input is as good as many, for the defense draws nothing."
    return Answer(NOT_ANSWERED, text, (("ceiling", "the ceiling"),))


def _calibrated(record: AuditRecord) -> Answer:
    return Answer(NOT_ANSWERED, "An audit looks at what the device sends, and not at the server's answers.")


def _private_training(record: AuditRecord) -> Answer:
    return Answer(NOT_ANSWERED, "How the model was trained cannot be told from its two halves.")


def _membership(record: AuditRecord) -> Answer:
    return Answer(
        NOT_ANSWERED,
        "Whether an input was in the training part was not looked for: `cutlayer run` does so by the probe membership, "
        "which needs the victim's training data.",
    )


def _raw_outputs(record: AuditRecord) -> Answer:
    return Answer(
        IN_PART,
        f"A split model sends an intermediate result, {numbers_sent(record)} for each input, by design. What it "
        "tells of the input is measured here; whether others than the server see it depends on the connection.",
        (("access", "who gets what"),),
    )


def _no_updates(record: AuditRecord) -> Answer:
    return Answer(
        NOT_APPLICABLE,
        "A split folder serves inference, and no update leaves a client. For trainings: `cutlayer train`, `cutlayer "
        "leaks` and `cutlayer gradients`.",
    )


REQUIREMENTS = (
    Requirement("v1.0-C3.1.2", 2, "All model artifacts are signed by those who may.", _signed),
    Requirement("v1.0-C3.1.3", 2, "The signatures are verified at deployment and on load.", _checksums),
    Requirement("v1.0-C3.2.2", 2, "A quantized model passes the same evaluation again before it is used.", _quantized),
    Requirement("v1.0-C4.1.2", 1, "Models are read only from formats that can run no code when read.", _formats),
    Requirement("v1.0-C4.3.1", 1, "Edge devices authenticate strongly to the infrastructure.", _authenticated),
    Requirement(
        "v1.0-C4.3.2", 2, "Models for devices are signed, and the device verifies signature or checksum first.",
        _checksums,
    ),
    Requirement("v1.0-C4.3.3", 3, "The runtime isolates processes, memory and files.", _isolated),
    Requirement("v1.0-C4.3.4", 3, "Weights on the device are encrypted with keys that hardware holds.", _weights_kept),
    Requirement(
        "v1.0-C4.3.5", 3, "Models inside applications are encrypted, and cannot simply be taken out.", _weights_kept
    ),
    Requirement("v1.0-C11.1.3", 1, "Models are evaluated against the known attacks on their kind.", _known_attacks),
    Requirement(
        "v1.0-C11.2.1", 1, "Sensitive attributes that a model infers are not returned in its outputs.", _inversion
    ),
    Requirement("v1.0-C11.2.2", 1, "Rate limits, for each caller and in all, are sized to extraction.", _rates),
    Requirement("v1.0-C11.2.3", 2, "Outputs are calibrated, so that none is overconfident.", _calibrated),
    Requirement("v1.0-C11.2.4", 2, "Training on sensitive data is differentially private.", _private_training),
    Requirement(
        "v1.0-C11.2.5", 3, "Simulated membership inference does no better than guessing.", _membership
    ),
    Requirement(
        "v1.0-C11.3.2", 2, "Raw outputs stay in the backend, and visible ones fit the risk of extraction.", _raw_outputs
    ),
)  # fmt: skip
"""The requirements of version 1.0."""

DRAFTED = (
    Requirement(
        "C12.6.1", 1, "Updates of clients get local noise, or the aggregator adds it, for differential privacy.",
        _no_updates,
    ),
    Requirement("C12.6.2", 2, "Training metrics are private, and show no single client's loss.", _no_updates),
    Requirement("C12.6.3", 3, "Federated training is audited with canaries in every cycle.", _no_updates),
    Requirement("C12.6.4", 3, "Proofs state the whole privacy budget and its cost in utility.", _no_updates),
)  # fmt: skip
"""The requirements of drafts before 1.0, section "Federated Learning with Privacy Controls", which 1.0 has dropped."""
