"""What cannot be profiled is refused before anything is measured."""

import sys

import pytest

from cutlayer import cli


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run `cutlayer profile`, which is refused before it writes anything; return its one sentence."""

    def run(*words):
        out = () if "--out" in words else ("--out", tmp_path / "out")
        monkeypatch.setattr(sys, "argv", ["cutlayer", "profile", *map(str, (*words, *out))])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        assert not (tmp_path / "out").exists()
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("cutlayer: ")
        return last

    return run


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("resnet99",), "'resnet99' is not the name of a model"),
        (("MODEL", "--cuts", "nowhere"), "cannot be cut at 'nowhere'"),
        (("MODEL", "--cuts", "c2"), "cannot be cut at 'c2'"),
        (("MODEL", "--network", "-5mbit/1ms"), "must be above 0"),
        (("MODEL", "--network", "wifi,wifi"), "twice"),
        (("MODEL", "--codecs", "raw,nope"), "nope"),
        (("MODEL", "--samples", "0"), "--samples must be 1 to 10,000,000"),
        (("MODEL", "--max-latency", "soon"), "such as 50ms"),
        (("MODEL", "--max-leakage", "0.3"), "add --privacy"),
        (("MODEL", "--privacy"), "--data"),
        (("MODEL", "--privacy", "--data", "digits", "--max-leakage", "1.5"), "must be 0 to 1"),
        (("MODEL", "--min-accuracy", "90", "--data", "digits"), "must be 0 to 1"),
        (("MODEL", "--epochs", "3", "--data", "digits"), "comes with its weights"),
        (("MODEL", "--epochs", "1000000", "--data", "digits"), "--epochs must be 0 to 100,000"),
        (("MODEL", "--data", "digits"), "takes image as Nx3x8x8, batch first, and not samples of 1x8x8"),
        (("MODEL", "--seed", "-1"), "--seed must be 0 to 4,294,967,295"),
        (("MODEL", "--network", ""), "no network named ''"),
        (("MODEL", "--quota", "0"), "--quota must be above 0"),
        (("MODEL", "--cores", "4095"), "cannot run on the cores 4095"),
        (("MODEL", "--connect", "grpc://127.0.0.1:1", "--tc"), "leave out --tc"),
        (("MODEL", "--connect", "grpc://192.0.2.1:1"), "in plain text"),
        (("MODEL", "--connect", "server:8001"), "is not an address"),
        (("MODEL", "--input", "3x9"), "not samples of 3x9"),
        (("MODEL", "--connect", "grpc://127.0.0.1:1", "--network", "wifi"), "leave out --network"),
        (("MODEL", "--head", "torch"), "torch"),
        (("GARBAGE",), "cannot be read as an ONNX model"),
        (("MODEL", "--out", "FILE"), "--out must be a folder"),
    ],
)
def test_what_cannot_be_profiled_is_one_sentence(words, sentence, model, tmp_path, refused):
    (tmp_path / "garbage.onnx").write_bytes(b"\x08\x08nothing")
    (tmp_path / "file").touch()
    places = {"MODEL": model, "GARBAGE": tmp_path / "garbage.onnx", "FILE": tmp_path / "file"}
    assert sentence in refused(*(places.get(word, word) for word in words))


def test_no_namespaces_are_one_sentence_before_anything_is_measured(model, tmp_path, monkeypatch, refused):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "cannot create network namespaces (there is no unshare)" in refused(model, "--network", "wifi", "--tc")
