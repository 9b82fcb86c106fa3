"""A client that gets its plan from the server: what a server may make it do, and what it may not."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cutlayer.cloud.training.hosted import Hosted
from cutlayer.edge.training.work import given_plan, take_part
from cutlayer.errors import ConfigError
from cutlayer.protocols import plan as plans
from cutlayer.protocols.plan import parse
from cutlayer.protocols.setup import prepare
from cutlayer.wire.connect import connect, listen

PLAN: dict[str, Any] = {
    "data": "digits", "model": "lenet", "cut": "pool1", "protocol": "vanilla", "clients": 2, "rounds": 1,
    "samples": 100, "test": 50,
}  # fmt: skip


@contextmanager
def served(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = "") -> Iterator[str]:
    """The address of a server of `PLAN`, which gives clients another text as the plan, if one is given."""
    setup = prepare(parse(PLAN))
    if text:
        monkeypatch.setattr("cutlayer.cloud.training.hosted.plans.toml", lambda plan: text)
        monkeypatch.setattr("cutlayer.cloud.training.book.plans.toml", lambda plan: text)
    hosted = Hosted(
        setup.plan, setup.input, setup.classes, setup, folder, "in process", apart=False, told=lambda entry: None
    )
    address = f"inprocess://{secrets.token_hex(8)}"
    with closing(listen(address, hosted.service)):
        yield address
        hosted.service.drain(0.0)


def given(address: str) -> plans.TrainingPlan:
    with closing(connect(address)) as transport:
        return given_plan(transport)


def test_a_client_gets_the_plan_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path, monkeypatch) as address:
        assert given(address) == replace(parse(PLAN), row=given(address).row)
        # Whoever reads the plan takes nobody's place.
        assert given(address).id == parse(PLAN).id


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": "mine.py:Net"}, r"names '.*mine\.py:Net', which is not part of cutlayer"),
        ({"model": "os:system"}, "names 'os:system', which is not part of cutlayer"),
        ({"defense": {"name": "package.module:Quiet"}}, "which is not part of cutlayer"),
        ({"data": "/etc/cutlayer"}, "names the path '/etc/cutlayer' as its data"),
        ({"clients": 0}, "clients must be"),
    ],
)
def test_a_server_decides_neither_what_code_runs_nor_what_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], says: str
) -> None:
    from cutlayer.tables import toml_value

    text = "\n".join(f"{key} = {toml_value(value)}" for key, value in (PLAN | change).items())
    with served(tmp_path, monkeypatch, text) as address, pytest.raises(ConfigError, match=says):
        given(address)


def test_a_client_that_the_plan_does_not_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def join(number: int, of: int | None) -> None:
        take_part(address, number, of, out=tmp_path / "client", data_root=None, say=lambda text: None)

    with served(tmp_path / "server", monkeypatch) as address:
        with pytest.raises(ConfigError, match=r"The plan has 2 clients; client 3 of 3 was named"):
            join(3, 3)
        with pytest.raises(ConfigError, match=r"client 3 was named\. State one of them, such as --client 1/2"):
            join(3, None)
