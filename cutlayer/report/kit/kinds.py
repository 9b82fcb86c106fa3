"""What one input is called on a page, by the kind of the inputs, and what a guess and an error are for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cutlayer.report.kit.wording import LEAKAGE_GAIN, Scale


@dataclass(frozen=True)
class Kind:
    """The words for inputs of one kind.

    Attributes:
        one: One input, and `many` its plural.
        samples: The plural where the inputs of a data set are counted.
        device: What runs the first layers.
        answers: What the server says of an input.
        back: What the server may do with the numbers that describe an input.
        saw: Heading of the inputs, and `rebuilds` that of what is made of them.
        guess: The best guess of whoever has seen nothing, 0 % leakage; `exact` is 100 %.
        error: What the leakage gain is measured by.
        apart: What a gain is a share of: "the worst attack recovers 90 % of ...".
        furthest: When an attack gets most of an input.
        compared: How a reconstruction is compared with candidates.
        shown: How a page shows inputs: "in pictures".
        reading: How to read what is shown; may be empty.
    """

    one: str
    many: str
    samples: str
    device: str
    answers: str
    back: str
    saw: str
    rebuilds: str
    guess: str
    exact: str
    error: str
    apart: str
    furthest: str
    compared: str
    shown: str
    reading: str = ""

    @property
    def a(self) -> str:
        """One input, with its article."""
        return f"{'an' if self.one[0] in 'aeiou' else 'a'} {self.one}"

    def told(self, text: str) -> str:
        """What an attack or a metric says of pictures, said of these inputs."""
        if self.one == "picture":
            return text
        for word, own in (("pictures", self.many), ("picture", self.one), ("pixels", "numbers"), ("pixel", "number")):
            text = text.replace(word, own)
        return text

    @property
    def leakage(self) -> Scale:
        """The leakage gain, explained in these words."""
        explained = f"how far the attack gets from guessing {self.guess} (0 %) to {self.exact} (100 %), {self.error}."
        return replace(LEAKAGE_GAIN, explanation=explained)


PICTURE = Kind(
    "picture", "pictures", "images", "camera", "what is in the picture", "turn them back into the picture",
    saw="What the camera saw", rebuilds="What the server rebuilds",
    guess="the average picture", exact="the exact picture", error="by mean squared error",
    apart="what sets a picture apart from the average one",
    furthest="gets furthest from the average picture towards the true one",
    compared="in pixels", shown="in pictures",
)  # fmt: skip
SENTENCE = Kind(
    "sentence", "sentences", "sentences", "device", "what the sentence is about", "read the sentence in them",
    saw="What was said to the device", rebuilds="What the server reads",
    guess="the most frequent token in every place", exact="every token right",
    error="by the share of tokens that are wrong",
    apart="the tokens of a sentence that guessing gets wrong",
    furthest="reads the greatest share of its tokens",
    compared="by tokens", shown="in words",
    reading="What is read wrongly is underlined. A token is a word, a sign or a part of a word; "
    "‹?› is a word that the vocabulary does not know: nobody can read it, and it does not count.",
)  # fmt: skip
ROW = Kind(
    "row", "rows", "rows", "device", "to which class the row belongs", "work out the row from them",
    saw="What the device held", rebuilds="What the server works out",
    guess="the most frequent word or number in every column", exact="every column right",
    error="by the share of columns that are wrong",
    apart="the columns of a row that guessing gets wrong",
    furthest="works out the greatest share of its columns",
    compared="by values", shown="column by column",
    reading="What is wrong is underlined, and the truth stands below it.",
)  # fmt: skip
INPUT = Kind(
    "input", "inputs", "inputs", "device", "what the input is", "turn them back into the input",
    saw="What the device saw", rebuilds="What the server rebuilds",
    guess="the average input", exact="the exact input", error="by the error of the kind of input",
    apart="what sets an input apart from the average one",
    furthest="gets furthest from the average input towards the true one",
    compared="by their values", shown="one by one",
)  # fmt: skip

KINDS = {"image": PICTURE, "table": ROW, "tokens": SENTENCE}
"""The words for each kind of input, by the name of the modality."""


def kind_of(modality: str) -> Kind:
    """The words for the inputs of a modality."""
    return KINDS.get(modality, INPUT)
