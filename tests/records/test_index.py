"""The index of runs: it says what the folders say, whatever has been changed, killed, damaged or forbidden."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cutlayer import cli
from cutlayer.errors import ConfigError, WriteError
from cutlayer.records import class_level, found, gradients, index, training
from cutlayer.records.dataclass_json import dump
from cutlayer.records.files import write_json
from cutlayer.records.reading import class_studies, read, read_result, results, studies, trainings
from cutlayer.records.run import PIXELS, RESULT, WATCH_LIST, Estimate, load_result
from tests.records.test_run import identified
from tests.report import conftest
from tests.report.class_level.test_page import record as of_a_class
from tests.report.gradients.test_page import record as of_an_update
from tests.report.trainings.made import training as made_training

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "run"
OLD = "295a94a24ab0"


@pytest.fixture
def runs(tmp_path):
    """The golden run and its index, as the first version of cutlayer left them."""
    shutil.copytree(GOLDEN, tmp_path / OLD, ignore=shutil.ignore_patterns("index.sqlite"))
    shutil.copy(GOLDEN / "index.sqlite", tmp_path)
    return tmp_path


def written(folder, id, sigma=0.5, **changes):
    """A run that is finished, without its arrays."""
    result = replace(load_result(conftest.result(id, sigma)), **changes)
    write_json(folder / id / RESULT, dump(result))
    return result


def ask(folder, query):
    with closing(sqlite3.connect(folder / "index.sqlite")) as database:
        return database.execute(query).fetchall()


def change(folder, statement, *values):
    with closing(sqlite3.connect(folder / "index.sqlite")) as database, database:
        assert database.execute(statement, values).rowcount


@pytest.fixture
def opened_files(monkeypatch):
    """The records whose files were opened."""
    names, read_file = [], index.read_file

    def noted(path):
        found = read_file(path)
        names.append(path.parent.name)
        return found

    monkeypatch.setattr(index, "read_file", noted)
    return names


def test_what_has_not_changed_is_read_from_the_index_alone(tmp_path, opened_files):
    made = [written(tmp_path, f"{i:012x}", i / 10) for i in range(4)]
    assert list(results(tmp_path)) == made
    assert opened_files == [result.id for result in made]
    opened_files.clear()
    assert list(results(tmp_path)) == made
    assert [run.result for run in read(tmp_path)[0]] == made
    assert opened_files == []


def test_a_folder_that_was_changed_added_or_deleted_is_read_as_it_is(tmp_path, opened_files):
    a, b, c = (written(tmp_path, name * 12, 0.5) for name in "abc")
    list(results(tmp_path))
    opened_files.clear()
    shutil.rmtree(tmp_path / a.id)
    b = written(tmp_path, b.id, name="another")
    d = written(tmp_path, "d" * 12)
    assert list(results(tmp_path)) == [b, c, d]
    assert opened_files == [b.id, d.id]
    assert ask(tmp_path, "select path from records order by path") == [(f"{one.id}/{RESULT}",) for one in (b, c, d)]
    assert {id for (id,) in ask(tmp_path, "select experiment from rows")} == {b.id, c.id, d.id}
    assert {name for (name,) in ask(tmp_path, f"select name from rows where experiment = '{b.id}'")} == {"another"}
    (tmp_path / c.id / RESULT).write_text("{")
    assert list(results(tmp_path)) == [b, d]
    assert read(tmp_path)[1][0].name == c.id
    assert ask(tmp_path, f"select 1 from records where id = '{c.id}'") == []


def test_the_figures_of_a_copied_run_stay_until_both_are_gone(tmp_path):
    a = written(tmp_path, "a" * 12)
    shutil.copytree(tmp_path / a.id, tmp_path / "copy")
    for folder, left in ((a.id, 1), ("copy", 0)):
        assert len(list(results(tmp_path))) == left + 1
        shutil.rmtree(tmp_path / folder)
        list(results(tmp_path))
        assert bool(ask(tmp_path, "select * from rows")) == bool(left)


def test_trainings_and_the_cells_of_studies_are_in_it(tmp_path, opened_files):
    trained, going_on = made_training(), replace(made_training(seed=1), finished=False)
    trained = replace(trained, finished=True)
    for record in (trained, going_on):
        training.write(tmp_path / record.id, record)
    update, of_class = of_an_update(), of_a_class()
    gradients.write(tmp_path / "abc", update, {})
    class_level.write(tmp_path / "abc", of_class, {})
    listed = [("class-level", of_class.id), ("training", trained.id), ("update", update.id)]
    assert ask(tmp_path, "select kind, id from records order by kind") == listed
    opened_files.clear()
    assert {entry.record.id for entry in trainings(tmp_path)[0]} == {trained.id, going_on.id}
    assert studies(tmp_path)[0][0].records == (update,)
    assert class_studies(tmp_path)[0][0].records == (of_class,)
    assert opened_files == [going_on.id]
    assert len(ask(tmp_path, "select kind, id from records")) == 4


def test_an_old_index_takes_what_it_does_not_have(runs):
    before = ask(runs, "select * from rows order by 1, 7, 8, 10")
    toy = Estimate(0.5, 12, 0.4, 0.6)
    old = read_result(runs / OLD)
    attacks = tuple(replace(attack, metrics=attack.metrics | {"toy": toy}) for attack in old.privacy)
    write_json(runs / OLD / RESULT, dump(replace(old, privacy=attacks)))
    write_json(runs / "new" / RESULT, dump(replace(old, id="0123456789ab", privacy=attacks)))
    assert len(list(results(runs))) == 2
    assert ask(runs, f"select * from rows where experiment = '{OLD}' order by 1, 7, 8, 10") == before
    assert len(ask(runs, "select * from rows")) == 2 * len(before)
    assert set(ask(runs, "select value, n, low, high from metrics where metric = 'toy'")) == {(0.5, 12, 0.4, 0.6)}
    assert len(ask(runs, "select * from metrics")) == 2 * len(before) * 5


def test_a_result_without_one_of_the_four_metrics_is_indexed(tmp_path):
    result = load_result(conftest.result("aaaaaaaaaaaa", 0.5))
    written(tmp_path, result.id, privacy=tuple(replace(a, metrics={"mse": a.metrics["mse"]}) for a in result.privacy))
    list(results(tmp_path))
    assert {row[0] for row in ask(tmp_path, "select ssim from rows")} == {None}


def test_the_index_holds_every_way_to_identify(runs):
    ways = (identified(PIXELS, 0.25, "ridge"), identified(WATCH_LIST, 0.75))
    write_json(runs / OLD / RESULT, dump(replace(read_result(runs / OLD), identification=ways)))
    list(results(runs))
    assert ask(
        runs, "select metric, attack, value, n from metrics where metric like 'identified%' order by metric"
    ) == [
        ("identified", "watch-list", 0.75, 200),
        ("identified, pixels", "ridge", 0.25, 200),
        ("identified, watch list", "watch-list", 0.75, 200),
    ]


def test_a_failed_insert_leaves_no_open_database_and_no_half_of_the_rows(runs, monkeypatch):
    opened = []
    monkeypatch.setattr(
        sqlite3, "connect", lambda *a, connect=sqlite3.connect, **k: opened.append(connect(*a, **k)) or opened[-1]
    )
    old = read_result(runs / OLD)
    first, *others = old.privacy
    bad = replace(first, metrics={"mse": replace(first.metrics["mse"], value=object())})
    entry = index.Entry("run", "x", "x/result.json", (1, 1), "{}", replace(old, id="x", privacy=(*others, bad)))
    with pytest.raises(WriteError):
        index.put(runs, [entry])
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("select 1")
    monkeypatch.undo()
    assert ask(runs, "select * from rows where experiment = 'x'") == []


@pytest.mark.parametrize(
    "spoil",
    [
        "alter table metrics rename column low to lower",
        "drop table records",
        "create trigger t after insert on records begin delete from records; end",
    ],
)
def test_an_index_of_another_kind_is_made_again(tmp_path, spoil, caplog):
    made = [written(tmp_path, name * 12) for name in "ab"]
    list(results(tmp_path))
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as database, database:
        database.execute(spoil)
        if spoil.startswith("drop"):
            database.execute("create view records as select 'run' kind, 1 id, 2 path, 3 size, 4 mtime_ns, 5, 6 record")
    assert list(results(tmp_path)) == made
    assert len(ask(tmp_path, "select * from records")) == 2
    assert (tmp_path / "index.sqlite.damaged-1").is_file()
    assert "made again" in caplog.text


def test_a_record_that_is_damaged_within_the_index_is_read_from_its_folder(tmp_path, opened_files):
    made = written(tmp_path, "a" * 12)
    list(results(tmp_path))
    change(tmp_path, "update records set record = replace(record, 'photos', 'potohs')")
    opened_files.clear()
    assert list(results(tmp_path)) == [made]
    assert list(results(tmp_path)) == [made]
    assert opened_files == [made.id]


@pytest.mark.parametrize("other", ["folder", "pipe", "link", "text"])
def test_what_is_no_index_is_moved_aside(tmp_path, other):
    made, path = written(tmp_path, "a" * 12), tmp_path / "index.sqlite"
    make = {
        "folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "link": lambda: path.symlink_to("nowhere"),
        "text": lambda: path.write_text("no database" * 100),
    }  # fmt: skip
    make[other]()
    assert list(results(tmp_path)) == [made]
    assert ask(tmp_path, "select id from records") == [(made.id,)]
    assert os.path.lexists(tmp_path / "index.sqlite.damaged-1")


def test_texts_that_are_none_cost_nothing_else(tmp_path):
    """Half a letter in a record, and a name of a folder that is no UTF-8."""
    odd = written(tmp_path, "a" * 12, name="\ud800", data="\udfff")
    other = written(tmp_path, "b" * 12)
    folder = tmp_path / os.fsdecode(b"\xff")
    os.rename(tmp_path / other.id, folder)
    for _ in range(2):
        assert sorted(result.id for result in results(tmp_path)) == [odd.id, other.id]
    assert ask(tmp_path, "select id from records") == [(odd.id,)]


def test_where_nobody_may_write_all_is_read_and_nothing_is_written(tmp_path):
    made = [written(tmp_path, name * 12) for name in "ab"]
    list(results(tmp_path))
    made.append(written(tmp_path, "c" * 12))
    ids = f"print(*[r.id for r in results(Path({str(tmp_path)!r}))])"
    code = f"from pathlib import Path\nfrom cutlayer.records.reading import results\n{ids}"
    mounted = f'mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path} && exec "$0" "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow to mount a folder read-only")
    before = (tmp_path / "index.sqlite").read_bytes()
    for journal in (b"", b"\xd9\xd5\x05\xf9 \xa1c\xd7" + bytes(1000)):
        (tmp_path / "index.sqlite-journal").write_bytes(journal)
        done = subprocess.run([*command, sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
        assert (done.stdout.split(), done.stderr) == ([result.id for result in made], "")
    assert (tmp_path / "index.sqlite").read_bytes() == before


def test_a_full_disk_takes_the_index_and_not_the_run(tmp_path, caplog):
    from tests.faults.test_full_disk import full_after

    made = written(tmp_path, "a" * 12)
    with full_after(20):
        assert list(results(tmp_path)) == [made]
        index.note(tmp_path, "run", tmp_path / made.id / RESULT, made.id, made)
    assert "not in the index yet" in caplog.text
    assert list(results(tmp_path)) == [made]
    assert len(ask(tmp_path, "select * from records")) == 1


def test_it_is_made_again_from_the_folders(tmp_path):
    made = [written(tmp_path, name * 12) for name in "ab"]
    training.write(tmp_path / "t", made_training())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / RESULT).write_text("{}")
    list(results(tmp_path))
    change(tmp_path, "update rows set experiment = 'nobody' where experiment = ?", made[0].id)
    change(tmp_path, "update records set record = '{}' where id = ?", made[1].id)
    counts, ((path, error),) = found.make_index(tmp_path)
    assert counts == {"run": 2, "training": 1, "update": 0, "class-level": 0}
    assert (path, type(error)) == (tmp_path / "broken" / RESULT, KeyError)
    assert {id for (id,) in ask(tmp_path, "select experiment from rows")} == {one.id for one in made}
    texts = ask(tmp_path, "select record from records where kind = 'run'")
    assert [load_result(json.loads(text)) for (text,) in texts] == made


def test_the_command_says_what_is_there_and_what_is_damaged(tmp_path, capsys):
    written(tmp_path, "a" * 12)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / RESULT).write_text("[]")
    cli.app().cli(args=["index", str(tmp_path)])
    told = capsys.readouterr()
    assert told.out == "The index holds runs: 1, trainings: 0, cells of studies: 0.\n"
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as database:
        docs = (ROOT / "docs" / "experiments.md").read_text()
        queries = re.findall(r'^sqlite3 runs/index.sqlite "(.*)"$', docs, re.MULTILINE)
        assert len([database.execute(query).fetchone() for query in queries]) == 2
    assert told.err.startswith(f"{tmp_path}/broken/{RESULT} is damaged (")
    with pytest.raises(ConfigError, match="no folder"):
        cli.app().cli(args=["index", str(tmp_path / "nowhere")])


WRITERS = """
import json, os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
from cutlayer.records import index
from cutlayer.records.dataclass_json import dump
from cutlayer.records.files import write_json
from cutlayer.records.reading import read_result, results

runs, kills, each = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
result = read_result(Path(sys.argv[4]))

def write(writer, number):
    one = replace(result, id=f"{writer:06}{number:06}")
    write_json(path := runs / one.id / "result.json", dump(one))
    index.note(runs, "run", path, one.id, one)

def start(writer, count):
    if process := os.fork():
        return process
    try:
        for number in range(count):
            write(writer, number)
        os._exit(0)
    finally:
        os._exit(1)

if kills:
    lot, kill = random.Random(0), 0
    while kill < kills or len(list(runs.glob("*/result.json"))) < kills:
        kill += 1
        writers = [start(2 * kill + k, 10**6) for k in range(2)]
        time.sleep(lot.uniform(0.0, 0.06))  # the moment of the kill, and no wait for anything
        for process in writers:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
else:
    assert not any([os.waitpid(process, 0)[1] for process in [start(k, each) for k in range(8)]])
"""


def run_writers(runs, kills, each):
    words = [sys.executable, "-c", WRITERS, runs, kills, each, GOLDEN]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True, cwd=ROOT).stderr


def test_eight_processes_write_at_once_and_all_is_there(tmp_path):
    assert run_writers(tmp_path, 0, 12) == ""
    expected = {f"{writer:06}{number:06}" for writer in range(8) for number in range(12)}
    assert ask(tmp_path, "pragma integrity_check") == [("ok",)]
    assert {id for (id,) in ask(tmp_path, "select id from records")} == expected
    assert {id for (id,) in ask(tmp_path, "select experiment from rows")} == expected
    assert {result.id for result in results(tmp_path)} == expected


def test_writers_that_are_killed_at_any_moment_damage_nothing_and_lose_no_finished_run(tmp_path):
    run_writers(tmp_path, 25, 0)
    finished = {path.parent.name for path in tmp_path.glob("*/result.json")}
    assert len(finished) >= 25
    assert {result.id for result in results(tmp_path)} == finished
    assert ask(tmp_path, "pragma integrity_check") == [("ok",)]
    assert {id for (id,) in ask(tmp_path, "select id from records")} == finished
    assert {id for (id,) in ask(tmp_path, "select experiment from rows")} == finished
    assert not list(tmp_path.glob("*.damaged-*"))
