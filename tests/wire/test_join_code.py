"""Join codes: one line in, the same line out, and a sentence without the token for everything else."""

import pytest

from cutlayer.errors import ConfigError
from cutlayer.wire.join_code import JoinCode, fingerprint

TOKEN, PRINT = "Zx9_-AbCdEfGhIjK", "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "code",
    [
        JoinCode("https", "192.0.2.7", 8443, TOKEN, PRINT),
        JoinCode("http", "127.0.0.1", 8000, TOKEN),
        JoinCode("https", "2001:db8::7", 8443, TOKEN, PRINT),
        JoinCode("https", "room.example", 1, TOKEN * 8, PRINT),
    ],
    ids=str,
)
def test_a_join_code_says_what_it_was_made_of(code):
    assert JoinCode.parse(str(code)) == code
    assert JoinCode.parse(f"  {code}\n") == code


def test_the_usual_port_may_be_left_out():
    assert JoinCode.parse(f"https://room.example/join#{TOKEN}.{PRINT}").port == 443
    assert JoinCode.parse(f"http://[::1]/join#{TOKEN}").origin == "http://[::1]:80"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not begin with https"),
        ("grpc://192.0.2.7:8001", "does not begin with https"),
        (f"//192.0.2.7:8443/join#{TOKEN}", "does not begin with https"),
        (f"https://192.0.2.7:8443/phone#{TOKEN}", "have to follow"),
        (f"https://192.0.2.7:8443/#{TOKEN}", "have to follow"),
        (f"https://192.0.2.7:8443/join?a=1#{TOKEN}.{PRINT}", "have to follow"),
        ("https://192.0.2.7:8443/join", "have to follow"),
        (f"https://192.0.2.7:99999/join#{TOKEN}.{PRINT}", "port"),
        (f"https://user@192.0.2.7:1/join#{TOKEN}.{PRINT}", "host name"),
        (f"https://[::1/join#{TOKEN}.{PRINT}", "Invalid IPv6"),
        ("http://127.0.0.1:8000/join#short", "token is cut off"),
        (f"http://127.0.0.1:8000/join#{TOKEN} {TOKEN}", "token is cut off"),
        (f"https://192.0.2.7:8443/join#{TOKEN}", "fingerprint"),
        (f"https://192.0.2.7:8443/join#{TOKEN}.{PRINT[:-1]}", "fingerprint"),
        (f"http://192.0.2.7:8443/join#{TOKEN}.{PRINT}", "fingerprint"),
    ],
)
def test_what_is_no_join_code_is_refused_with_a_sentence_that_keeps_the_token(text, why):
    with pytest.raises(ConfigError, match=why) as refused:
        JoinCode.parse(text)
    assert "cutlayer live" in str(refused.value)
    assert TOKEN not in str(refused.value)


def test_the_token_is_not_in_the_repr():
    assert TOKEN not in repr(JoinCode("http", "127.0.0.1", 8000, TOKEN))


def test_the_fingerprint_is_that_which_openssl_prints():
    assert fingerprint(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
