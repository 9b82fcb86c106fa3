"""What an audit says of the answers: how many are right, or how near vectors stay."""

from __future__ import annotations

from cutlayer.records.audit import AuditRecord
from cutlayer.report.kit.wording import ACCURACY
from cutlayer.report.runs.usefulness import COSINE, SAME_NEAREST


def useful(record: AuditRecord) -> tuple[str, str, str]:
    """Name of the figure, its value, and of how many inputs it is; the value is empty where none was measured."""
    if vectors := record.vectors:
        about = f"of vectors to those without the defense, {vectors.cosine.n:,} test inputs"
        if vectors.same_nearest is not None:
            about += f"; the nearest other one stays the same in {SAME_NEAREST.value(vectors.same_nearest.value)}"
        return "Cosine", COSINE.value(vectors.cosine.value), about
    if record.accuracy is None:
        return "Accuracy", "", record.accuracy_says
    return "Accuracy", ACCURACY.value(record.accuracy.value), f"of {record.accuracy.n:,} test inputs"
