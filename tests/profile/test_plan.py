import pytest

from cutlayer.errors import ConfigError
from cutlayer.profile.plan import duration_ns, names, numbers, shape


@pytest.mark.parametrize(
    ("text", "ns"), [("50ms", 50e6), ("1.5s", 1.5e9), ("800 us", 8e5), ("5m", 3e11), ("2h", 7.2e12)]
)
def test_a_time_is_read_with_its_unit(text, ns):
    assert duration_ns(text) == pytest.approx(ns)


def test_names_numbers_and_shapes():
    assert names("codec", "raw, fp16") == ("raw", "fp16")
    assert numbers("0,2") == (0, 2)
    assert shape("3x224x224").shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("read", "texts", "sentence"),
    [
        (duration_ns, ["", "50", "-5ms", "0ms", "50 min", "nan ms", "1e3ms"], "such as 50ms"),
        (lambda text: names("codec", text), ["raw,raw", "raw,,fp16", ""], "codec"),
        (numbers, ["0,-1", "0,a"], "Cores must be numbers"),
        (shape, ["3x224", "3x0x5", "axbxc", "-3x2x2", "99999x99999x99999"], "CxHxW"),
        (shape, ["1x0", "1x16000", "a=3x8x8"], "CxHxW"),
    ],
)
def test_what_cannot_be_read_is_refused(read, texts, sentence):
    for text in texts:
        with pytest.raises(ConfigError, match=sentence):
            read(text)
