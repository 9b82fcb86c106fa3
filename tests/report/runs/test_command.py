"""`cutlayer report`: the page, the browser, and the tables."""

import webbrowser

import pytest

from cutlayer.commands.experiments import report
from cutlayer.errors import ConfigError
from cutlayer.records.index import INDEX


@pytest.mark.parametrize("there", [True, False])
def test_open_shows_the_page_in_the_browser_or_says_that_there_is_none(runs, monkeypatch, capsys, there):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or there)
    report(runs, open=True)
    assert opened == [(runs / "report.html").resolve().as_uri()]
    assert ("No browser could be opened" in capsys.readouterr().out) is not there


FILES = {"html": "report.html", "latex": "report.tex", "markdown": "report.md"}


@pytest.mark.parametrize(("kind", "name"), FILES.items())
def test_each_format_is_one_file(runs, capsys, kind, name):
    report(runs, format=kind)
    assert {path.name for path in runs.iterdir() if path.is_file()} == {name, INDEX}
    assert name in capsys.readouterr().out


def test_tables_are_not_opened(runs):
    with pytest.raises(ConfigError, match="leave one of the two out"):
        report(runs, open=True, format="latex")
