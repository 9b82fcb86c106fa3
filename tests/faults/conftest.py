"""The fixture of the tests of faults."""

import pytest

from cutlayer.wire import certs


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """A folder with the keys and certificates of both sides."""
    folder = tmp_path_factory.mktemp("keys")
    certs.init(folder)
    return folder
