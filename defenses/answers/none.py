"""No defense of answers: the server replies with what the network gives."""

from dataclasses import dataclass

from cutlayer.defenses.answers.base import AnswerDefense


@dataclass(kw_only=True)
class Undefended(AnswerDefense):
    """Train as usual, and reply with all scores."""

    knob = ""
    plain_words = "trains as usual, and replies with all scores"
