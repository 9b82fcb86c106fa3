import pytest

from cutlayer.wire import certs
from tests.tiny_split import write_split


@pytest.fixture
def folder(tmp_path):
    write_split(tmp_path / "split")
    return tmp_path / "split"


@pytest.fixture
def keys(tmp_path):
    certs.init(tmp_path / "certs")
    return tmp_path / "certs"
