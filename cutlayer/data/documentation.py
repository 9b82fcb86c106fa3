"""Sentences of the documentation inside Python's own library. Needs no download.

The class of a sentence is the package whose docstrings hold it. The files are those of the Python that runs, so that
another release of Python gives other sentences. A sentence that occurs twice is taken once.
"""

from __future__ import annotations

import ast
import functools
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cutlayer.data.parts import dealt
from cutlayer.data.splits import Dataset, Splits
from cutlayer.data.text import Tokenizer
from cutlayer.data.vocabulary import counted
from cutlayer.errors import DataError

PACKAGES = {
    "asyncio": "asyncio", "decimal": "_pydecimal.py", "email": "email", "http": "http", "importlib": "importlib",
    "logging": "logging", "typing": "typing.py", "xml": "xml",
}  # fmt: skip
"""The classes, and where the standard library has the files of each."""
LENGTH = 32
"""Tokens of a sentence at most, where none is stated."""
FEWEST_WORDS = 5
_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")


def load(
    root: Path | None,
    seed: int,
    shape: tuple[int, ...] | None = None,
    otherwise: tuple[int, ...] | None = None,
    tokenizer: Tokenizer | None = None,
) -> Splits:
    """Sentences of Python's documentation, by package: about 2,150 train, 1,080 auxiliary, 540 private, 540 test.

    `root` is not used.

    Args:
        root: Folder of the original files.
        seed: Decides which sentence goes to which part.
        shape: The greatest number of tokens of a sentence, as a shape of one axis; what is longer is cut off.
        otherwise: Likewise, where no other is stated.
        tokenizer: What makes tokens of text; the words of the documentation itself if None.
    """
    texts, labels = sentences()
    opened = tokenizer or Tokenizer(own_tokenizer(), "the tokenizer of documentation")
    length = (shape or otherwise or (LENGTH,))[0]
    ids = opened.ids(texts, length)
    # Sentences that a tokenizer does not tell apart stay in one part.
    groups = np.unique(ids, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
    data = Dataset(ids, np.array(labels, np.int64), opened.modality, groups)
    return Splits(
        "documentation", tuple(PACKAGES), *dealt([data], seed), words=opened.words, tokenizer=opened.text
    )  # fmt: skip


@functools.cache
def sentences() -> tuple[tuple[str, ...], tuple[int, ...]]:
    """All sentences of at least `FEWEST_WORDS` words, each once, and the class of each."""
    library, found = Path(sysconfig.get_path("stdlib")), dict[str, int]()
    for label, place in enumerate(PACKAGES.values()):
        path = library / place
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            for docstring in _docstrings(file):
                for part in _END.split(docstring):
                    sentence = " ".join(part.split())
                    if len(sentence.split()) >= FEWEST_WORDS:
                        found.setdefault(sentence, label)
    if len(set(found.values())) < len(PACKAGES):
        raise DataError(
            f"The documentation in {library} lacks a package of {', '.join(PACKAGES)}: this Python was installed "
            "without docstrings; use another Python."
        )
    return tuple(found), tuple(found.values())


def _docstrings(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring


@functools.cache
def own_tokenizer() -> str:
    """A tokenizer of the most frequent words and signs of the documentation; equal on each machine with this Python."""
    return counted(sentences()[0])
