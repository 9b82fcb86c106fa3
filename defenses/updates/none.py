"""No defense of updates: each leaves its client as it is."""

from dataclasses import dataclass

from cutlayer.defenses.updates.base import UpdateDefense


@dataclass(kw_only=True)
class Unprotected(UpdateDefense):
    """Send updates as they are."""

    knob = ""
    plain_words = "sends updates as they are"
