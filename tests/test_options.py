"""Numbers and paths on the command line: each option states what it accepts, and refuses the rest before it runs."""

import inspect
import math
import os
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

from cutlayer import cli, options
from cutlayer.errors import ConfigError
from cutlayer.options import At, Within, check


def flattened(command):
    """The options of a command with those of its dataclasses: what a user writes, and annotation."""
    for _, shown, annotation in options.options(command):
        base = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
        if is_dataclass(base):
            hints = get_type_hints(base, include_extras=True)
            shown_fields = (field.name for field in fields(base) if "Suppress" not in repr(hints[field.name]))
            yield from (("--" + name.replace("_", "-"), hints[name]) for name in shown_fields)
        else:
            yield shown, annotation


def found(kind):
    """Every option that accepts this kind: command, option, and its bounds."""
    for name, command in cli.commands().items():
        for shown, annotation in flattened(command):
            kinds, bounds = options._parts(annotation)
            if kind in kinds:
                yield name, shown, bounds


SPLIT = str(Path(__file__).parent / "golden" / "split-tiny")
NUMBERS = [(*option, kind) for kind in (int, float) for option in found(kind)]
PATHS = list(found(Path))


def beyond(bound, kind):
    """Numbers out of the bounds."""
    least = [bound.least] if bound.above else []
    odd = [math.nan, math.inf, -math.inf] if kind is float else []
    return [bound.least - 1, bound.most + 1, 10**400, -(10**400), *least, *odd]


def refused(command, shown, value):
    """What a command says of one value of one option, before it runs; the other arguments lead nowhere."""
    arguments = {}
    parameters = inspect.signature(cli.commands()[command]).parameters
    for name, option, annotation in options.options(cli.commands()[command]):
        parameter = parameters[name]
        if option == shown:
            arguments[name] = value
        elif is_dataclass(parameter.default) and shown in (
            f"--{f.name.replace('_', '-')}" for f in fields(parameter.default)
        ):
            arguments[name] = replace(parameter.default, **{shown[2:].replace("-", "_"): value})
        elif parameter.default is parameter.empty:
            arguments[name] = Path("absent") if Path in options._parts(annotation)[0] else "absent"
    positional = [
        arguments.pop(name) for name, p in parameters.items() if p.kind is p.POSITIONAL_ONLY and name in arguments
    ]
    with pytest.raises(ConfigError) as raised:
        options.checked(cli.commands()[command])(*positional, **arguments)
    return str(raised.value)


def test_the_walk_finds_the_options():
    assert len(NUMBERS) > 35
    assert len(PATHS) > 30
    assert {("cloud", "--threads"), ("edge", "--count"), ("split", "--seed")} <= {option[:2] for option in NUMBERS}
    assert {("run", "FILE.toml"), ("cloud", "--tap"), ("edge", "--ca")} <= {option[:2] for option in PATHS}


@pytest.mark.parametrize(("command", "shown", "bounds", "kind"), NUMBERS)
def test_every_number_has_bounds_and_refuses_what_is_beyond(command, shown, bounds, kind):
    assert len(bounds) == 1, f"{command} {shown}: write its bounds beside it, as in Annotated[int, Within(1, 1024)]"
    (bound,) = bounds
    assert math.isfinite(bound.least)
    assert math.isfinite(bound.most)
    for value in beyond(bound, kind):
        said = refused(command, shown, value)
        assert said.startswith(f"{shown} must be ")
        assert str(bound) in said
        assert f"{value!r:.80} was given" in said
    for value in (bound.most, bound.least + bound.above):
        check(shown, Annotated[kind, bound], kind(value))


@pytest.mark.parametrize(("command", "shown", "bounds"), PATHS)
def test_every_path_says_what_it_leads_to_and_waits_for_nothing(command, shown, bounds, tmp_path):
    assert len(bounds) == 1, f"{command} {shown}: write beside it what it leads to, as in Annotated[Path, At('file')]"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    for value in ["pipe", "device", *({"file", "folder"} - {*bounds[0].kinds})]:
        found = f"a {value}" if value in ("file", "folder") else "a pipe, a socket or a device"
        path = tmp_path / value
        assert (
            refused(command, shown, path) == f"{shown} must be {bounds[0]}; {str(path)!r} was given, and it is {found}."
        )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["edge", "absent", "--rate", "nan"], "--rate must be a number, above 0 and at most 1,000,000; nan was given."),
        (["cloud", "absent", "--threads", "9" * 30], f"--threads must be 1 to 1,024; {'9' * 30} was given."),
        (
            ["run", "/dev/zero"],
            "FILE.toml must be a file; '/dev/zero' was given, and it is a pipe, a socket or a device.",
        ),
        (["cloud", "absent", "--tap", "/dev/null"], "--tap must be a folder; '/dev/null' was given, and it is a pipe"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_command_line_says_it_in_one_sentence(words, complaint, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["cutlayer", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"cutlayer: {complaint}")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["cloud", "absent", "--threads", "many"], "threads"),
        (["cloud", "absent", "--threads", "1" * 5000], "threads"),
        (["cloud", SPLIT, "--listen", "grpc://127.0.0.1:65536"], "is not an address"),
        (["cloud", SPLIT, "--listen", "grpc://127.0.0.1:" + "1" * 5000], "is not an address"),
        (["edge", SPLIT, "--data", "random", "--connect", "zmq://127.0.0.1:-1"], "is not an address"),
        (["edge", "absent", "--rate", "1e999"], "--rate must be"),
        (["cuts", "he_lenet", "--input", "3x99999999x9"], "9"),
        (["cuts", "he_lenet", "--input", "3x" + "9" * 5000 + "x9"], "CxHxW"),
        (["profile", "he_lenet", "--cores", "9" * 5000], "ores"),
        (["profile", "he_lenet", "--cores", "0,"], "empty core"),
        (["profile", "he_lenet", "--max-latency", "9" * 400 + "s"], "time"),
        (["profile", "he_lenet", "--mean", "nan,0,0", "--std", "1,1,1"], "--mean"),
        (["grid", "experiments/demo.toml", "--workers", "9" * 5000], "workers"),
        (["run", "--example", "demo", "--budget", "0s"], "time"),
        (["run", "--example", "demo", "--budget", "infs"], "time"),
        (["compare", "absent", "absent", "--fail-if", "p50 > " + "9" * 400 + "x"], "not a condition"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_texts_that_hold_numbers(words, complaint, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["cutlayer", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert complaint in said.replace("\n", " ")
    assert "Traceback" not in said


def test_bounds_reach_into_lists_and_leave_none_alone():
    annotation = tuple[Annotated[float, Within(0, 1)], ...] | None
    check("x", annotation, None)
    check("x", annotation, [0.5, 1])
    for wrong in ([0.5, 2], [math.nan], ["a"], [True]):
        with pytest.raises(ConfigError, match=r"^x must be"):
            check("x", annotation, wrong)
    assert options._parts(annotation)[0][-1] is NoneType


def test_a_path_through_a_file_and_a_name_that_is_too_long(tmp_path):
    (tmp_path / "file").touch()
    for path, reason in ((tmp_path / "file" / "x", "a part of its path is a file"), (Path("x" * 5000), "looked up")):
        with pytest.raises(ConfigError, match=reason):
            check("--out", Annotated[Path, At("folder")], path)
    check("--out", Annotated[Path, At("folder")], tmp_path / "absent")
