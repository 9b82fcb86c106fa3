"""Attacks that the surveys list beside those on classes of images, and that are not built, each with the reason.

They are listed so that nobody has to look for them twice.
"""

from dataclasses import dataclass

from cutlayer.attacks.answers.base import AnswerAttack, ClassAttack
from cutlayer.attacks.answers.view import Reply
from cutlayer.registry import Missing


@dataclass(kw_only=True)
class GraphMI(Missing, ClassAttack):
    """GraphMI and RL-GraphMI: the edges between known nodes, found by gradients or by labels alone."""

    explanation = (
        "Not built: GraphMI and RL-GraphMI find the edges of a graph that a graph network was trained on, and a graph "
        "network has no first layers that a device computes without its neighbours: see the data set `graphs`."
    )
    plain_words = "finds which nodes of a training graph are connected"
    needs = Reply.LABEL


@dataclass(kw_only=True)
class SiaGan(Missing, AnswerAttack):
    """SIA-GAN: a network that puts scrambled images back in order, learned from pairs of the attacker's own."""

    explanation = (
        "Not built: SIA-GAN undoes the scrambling of blocks by which images are encrypted before a model sees them, "
        "and no head here scrambles its input; `decoder` learns from such pairs."
    )
    plain_words = "learns to put scrambled pictures back in order"


@dataclass(kw_only=True)
class TextRevealer(Missing, ClassAttack):
    """Text Revealer: sentences of a class, written by a language model that the answers of a text classifier steer."""

    explanation = (
        "Not built: Text Revealer (Zhang 2022) has a large language model write sentences, and steers it by the "
        "answers of a text classifier; no such model is at hand, `text_gpt` classifies sentences and writes none, and "
        "the judges of this study look at pictures."
    )
    plain_words = "writes sentences of which the model is ever surer"
    needs = Reply.SCORES
