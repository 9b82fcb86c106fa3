"""Tables for a paper: what they say, and that no name of a record is a command of LaTeX or a sign of Markdown."""

import json
import re
import shutil
import subprocess

import pytest

from cutlayer.records.reading import read
from cutlayer.report.runs.groups import group
from cutlayer.report.runs.paper import latex_text, markdown_text, paper_tables, write

EVIL = r"a_b & 50% #1 {x} $y$ ~z^2 \input{/etc/passwd} <i>|*`[q] µ é 中"
WHOLE = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,textcomp}\begin{document}%s\end{document}"


@pytest.fixture
def named(runs):
    """Runs whose names have every sign that means something to LaTeX or Markdown."""
    for path in runs.glob("*/result.json"):
        record = json.loads(path.read_text())
        record |= {"data": EVIL, "model": EVIL, "defense_label": f"{record['defense_label']} {EVIL}"}
        for attack in [*record["privacy"], record["worst_case"]]:
            attack["label"] = f"[{EVIL}] {attack['label']}"
        path.write_text(json.dumps(record))
        env = json.loads((path.parent / "env.json").read_text())
        command = ["cutlayer", "grid", "my plan_1.toml", "--engine", "local", "100%\n\\evil"]
        (path.parent / "env.json").write_text(json.dumps(env | {"command": command}))
    return runs


def parsed(text: str) -> tuple[list[str], list[list[str]]]:
    """The environments and the rows of a file of LaTeX, read strictly: only the commands that the tables use."""
    known = {"begin", "end", "centering", "footnotesize", "scriptsize", "caption", "label", "toprule", "midrule",
             "bottomrule", "textbf", "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater",
             "textbar", "textquotedbl", "mu", "infty"}  # fmt: skip
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert set(re.findall(r"\\([A-Za-z]+)", body)) <= known
    assert set(re.findall(r"\\([^A-Za-z])", body)) <= set("\\&%$#_{}")
    bare = re.sub(r"\\\\|\\[&%$#_{}]", "", body)
    assert not set(bare) & set('%#_^<>|"'), "every other sign of LaTeX is escaped"
    depth, math, open_environments, found = 0, False, [], []
    for sign in re.finditer(r"\\(begin|end)\{(\w+)\}|[{}$]", bare):
        if sign[0] == "$":
            math = not math
        elif sign[1] == "begin":
            open_environments.append(sign[2])
            found.append(sign[2])
        elif sign[1] == "end":
            assert open_environments.pop() == sign[2]
        else:
            depth += 1 if sign[0] == "{" else -1
            assert depth >= 0
    assert (depth, math, open_environments) == (0, False, [])
    tables = re.findall(r"\\begin\{tabular\}\{(l?r*)\}(.*?)\\end\{tabular\}", body, re.S)
    rows = []
    for columns, content in tables:
        for row in re.findall(r"^(.*) \\\\$", content, re.M):
            cells = re.split(r"(?<!\\)&", row)
            assert len(cells) == len(columns)
            assert not row.startswith("["), "it would be an option of the line break"
            rows.append([cell.strip() for cell in cells])
    return found, rows


def test_the_tables_of_a_paper_have_the_figures_of_the_page(runs):
    text = write(runs, "latex").read_text()
    environments, rows = parsed(text)
    assert environments == ["table", "tabular"] * 2
    frontier, matrix = rows[:4], rows[4:]
    assert frontier[2][0] == "gaussian-noise sigma=0.5 *"
    assert frontier[2][1:4] == [r"77.4 {\scriptsize [73.8, 81.0]}", r"64.0 {\scriptsize [62.5, 65.5]}", "white-box"]
    assert matrix[1][5] == r"\textbf{96.0} {\scriptsize [94.5, 97.5]}"
    assert "n = 500 test and 64 attacked inputs per seed" in text
    assert "% Red flags: weaker-beats-stronger (2); read them in the report" in text
    assert "% Made by: cutlayer run runs/ID/experiment.toml" in text, "records without a command say how to repeat"


def test_no_name_is_a_command_of_latex(named):
    text = write(named, "latex").read_text()
    _, rows = parsed(text)
    assert len(rows) == 8
    assert r"% Made by: cutlayer grid 'my plan_1.toml' --engine local '100%\n\evil'" in text, "one line"
    assert latex_text("[a]_b") == r"{[}a{]}\_b"


def test_no_name_is_a_sign_of_markdown(named):
    text = write(named, "markdown").read_text()
    for line in (line for line in text.splitlines() if line.startswith("|")):
        assert len(re.findall(r"(?<!\\)\|", line)) == 8, line
        assert not re.findall(r"(?<!\\)[<`]", line)
    assert "--engine local" in text, "the command can be copied from the comment"
    assert markdown_text("--> a|b") == r"--\> a\|b"
    assert text.count("-->") == text.count("<!--") == 4


def test_the_worst_of_each_row_is_bold(runs):
    text = write(runs, "markdown").read_text()
    assert len(re.findall(r"\*\*[\d.]+\*\*", text)) == 3


def test_several_seeds_are_named(runs):
    record = json.loads((runs / "aaaaaaaaaaaa" / "result.json").read_text())
    shutil.copytree(runs / "aaaaaaaaaaaa", runs / "dddddddddddd")
    (runs / "dddddddddddd" / "result.json").write_text(json.dumps(record | {"id": "dddddddddddd", "seed": 1}))
    (found,) = group(read(runs)[0])
    assert "mean over seeds 0, 1, intervals from the lowest to the highest end" in paper_tables(found)[0].caption


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_sets_the_tables(named, tmp_path):
    (tmp_path / "paper.tex").write_text(WHOLE % ("\n" + write(named, "latex").read_text()), encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=batchmode", "paper.tex"], cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0
    assert (tmp_path / "paper.pdf").stat().st_size > 1000
