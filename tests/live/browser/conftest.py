"""What pages of phones compute with, from the user's cache or from npm; without it their tests are skipped."""

import pytest

from cutlayer.errors import CutlayerError
from cutlayer.live.runtime import ONNX, TOKENIZERS, Runtime


def fetched(*packages):
    found = Runtime(*packages)
    try:
        found.ready()
    except CutlayerError as error:
        pytest.skip(str(error))
    return found


@pytest.fixture(scope="session")
def runtime():
    """The runtime of the head."""
    return fetched(ONNX)


@pytest.fixture(scope="session")
def text_runtime():
    """The runtime of the head, and what makes tokens."""
    return fetched(ONNX, TOKENIZERS)
