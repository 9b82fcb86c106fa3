import pytest

from cutlayer.wire import certs


@pytest.fixture
def keys(tmp_path):
    certs.init(tmp_path / "certs")
    return tmp_path / "certs"
