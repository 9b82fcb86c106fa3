import pytest

from cutlayer.errors import ConfigError
from cutlayer.profile.plan import duration_ns, names, numbers, shape


@pytest.mark.parametrize(("text", "ns"), [("50ms", 50e6), ("1.5s", 1.5e9), ("800 us", 8e5)])
def test_a_time_is_read_with_its_unit(text, ns):
    assert duration_ns(text) == pytest.approx(ns)


@pytest.mark.parametrize("text", ["", "50", "-5ms", "0ms", "50 min", "nan ms", "1e3ms"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match="such as 50ms"):
        duration_ns(text)


def test_names_come_once():
    assert names("codec", "raw, fp16") == ("raw", "fp16")
    for text in ("raw,raw", "raw,,fp16", ""):
        with pytest.raises(ConfigError, match="codec"):
            names("codec", text)


def test_cores_are_numbers():
    assert numbers("0,2") == (0, 2)
    with pytest.raises(ConfigError, match="Cores must be numbers"):
        numbers("0,-1")


def test_a_shape_is_three_numbers():
    assert shape("3x224x224").shape == (3, 224, 224)
    for text in ("3x224", "3x0x5", "axbxc", "-3x2x2", "99999x99999x99999"):
        with pytest.raises(ConfigError, match="CxHxW"):
            shape(text)
    assert shape("1x16000", image=False).shape == (1, 16000)
    with pytest.raises(ConfigError, match="CxHxW"):
        shape("1x0", image=False)
