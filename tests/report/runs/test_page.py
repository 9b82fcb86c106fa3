import base64
import hashlib
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cutlayer.errors import CutlayerError
from cutlayer.report.runs.page import write


class Page(HTMLParser):
    """The texts, attributes and balance of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.rows and self.open[-1:] != ["style"] and ("td" in self.open or "th" in self.open):
            self.rows[-1][-1] += data + "|"

    @property
    def text(self) -> str:
        return " ".join(self.texts).replace("\N{NO-BREAK SPACE}", " ")

    def row(self, *starts: str) -> list[str]:
        return next(
            row for row in self.rows if len(row) > 2 and all(c.startswith(s) for c, s in zip(row, starts, strict=False))
        )


def rendered(runs: Path) -> tuple[str, Page]:
    source = write(runs).read_text(encoding="utf-8")
    page = Page(source)
    assert page.open == []
    return source, page


def edit(runs: Path, run_id: str, change) -> None:
    path = runs / run_id / "result.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_every_defense_and_attack_appears_in_words_and_pictures(runs):
    _, page = rendered(runs)
    alts = [value for tag, key, value in page.attributes if (tag, key) == ("img", "alt")]
    for defense in ("no defense", "gaussian-noise sigma=0.5", "gaussian-noise sigma=2.0"):
        for attack in ("mean-image", "nearest", "ridge", "decoder res_normN4C64", "white-box", "averaging ridge x16"):
            assert page.row(attack)
            assert any(alt.startswith(f"{attack} with {defense}") for alt in alts)
    assert all(alts)
    assert any(alt.startswith("6 original pictures: astronaut, cat") for alt in alts)


def test_the_headline_row_equals_the_record(runs):
    _, page = rendered(runs)
    row = page.row("gaussian-noise sigma=0.5", "77.4")
    record = json.loads((runs / "bbbbbbbbbbbb" / "result.json").read_text())
    worst = record["worst_case"]
    assert row[1:5] == ["77.4|73.8 to 81.0|", "−3.0|−10.1 to +4.1|", "white-box|on zmq-onnx|", "64.0|62.5 to 65.5|"]
    assert row[5] == "92.0 / 67.7|"
    most = max(record["identification"], key=lambda found: found["top_1"]["value"])
    assert row[6] == f"{most['top_1']['value'] * 100:.1f}|95.9 to 101.9|watch-list n_releases=8|"
    assert row[7].startswith(f"{worst['psnr']['value']:.2f}|")
    assert row[8].startswith(f"{worst['ssim']['value']:.3f}|")
    assert [f"{c['end_to_end']['p50'] / 1e6:.2f}" for c in record["cost"]] == re.findall(r"(\d\.\d\d)\s", row[9])
    assert row[10:12] == ["33.1\N{NO-BREAK SPACE}kB|", "1 flag|"]


def test_the_page_needs_nothing_but_itself(runs):
    source, page = rendered(runs)
    assert not [part for part in ("http://", "https://", "url(", "@import") if part in source]
    loaded = [value for _, key, value in page.attributes if key in ("src", "srcset", "data", "action", "background")]
    assert loaded
    assert all(value.startswith("data:image/png;base64,") for value in loaded)
    assert all(value.startswith("#") for _, key, value in page.attributes if key == "href")
    policy = next(value for tag, key, value in page.attributes if tag == "meta" and "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", source, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}';" in policy


def test_links_lead_to_a_place_on_the_page(runs):
    edit(runs, "cccccccccccc", lambda r: r.update(cut="features.14"))
    _, page = rendered(runs)
    places = [value for _, key, value in page.attributes if key == "id"]
    assert len(places) == len(set(places))
    assert {value[1:] for _, key, value in page.attributes if key == "href"} <= set(places)


def test_records_cannot_put_markup_into_the_page(runs):
    evil = '<img src=x onerror="alert(1)">&"\''

    def poison(record):
        worst = record["worst_case"]
        record.update(name=evil, claim=evil, defense_label=evil, classes=[evil] * 4, data=evil, model=evil, cut=evil)
        record["flags"] = [{"flag": evil, "text": evil}]
        for row in record["privacy"]:
            row.update(label=row["label"] + evil, access=evil, published={"psnr": 1.0, "source": evil})
            row["metrics"][evil] = row["metrics"]["mse"]
        worst.update(label=worst["label"] + evil)
        for cost in record["cost"]:
            cost.update(deployment=evil, energy_j=1.0, energy_source=evil)

    edit(runs, "bbbbbbbbbbbb", poison)
    env = runs / "bbbbbbbbbbbb" / "env.json"
    env.write_text(json.dumps({evil: evil, "packages": {evil: evil}}))
    source, page = rendered(runs)
    assert "<img src=x" not in source
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    assert page.text.count(evil) > 20


def test_a_missing_percentile_is_a_dash_beside_its_n(runs):
    _, page = rendered(runs)
    head, row = page.row("Deployment", "Defense", "n|"), page.row("zmq-onnx", "no defense", "300")
    assert head[3:7] == ["p50|", "p90|", "p95|", "First request|"], "p99 needs more than 300 samples everywhere"
    assert row[2] == "300|"
    assert "–|" not in row

    def shorten(record):
        record["cost"][0] |= {"n": 60, "end_to_end": record["cost"][0]["end_to_end"] | {"p95": None}}

    edit(runs, "aaaaaaaaaaaa", shorten)
    row = rendered(runs)[1].row("zmq-onnx", "no defense", "60")
    assert (row[2], row[5]) == ("60|", "–|")


def test_flags_are_shown_with_their_sentence_and_run(runs):
    _, page = rendered(runs)
    assert page.text.count("ridge beats white-box: the latter is not at its best.") == 1, "equal flags are one"
    assert page.text.index("Red flags: 2") < page.text.index("A camera runs the first layers"), "on top of everything"
    flags = page.text[page.text.index("weaker-beats-stronger") :][:200]
    assert re.search("ridge beats.*sigma=0.5.*sigma=2.0", flags, re.S)
    links = [value for tag, key, value in page.attributes if (tag, key) == ("a", "href")]
    assert links[:2] == ["#g1-s1", "#g1-s2"]


def test_the_page_says_when_no_flag_was_raised(runs):
    for run_id in ("bbbbbbbbbbbb", "cccccccccccc"):
        shutil.rmtree(runs / run_id)
    assert "No red flag was raised." in rendered(runs)[1].text


def test_published_values_stand_beside_ours(runs):
    def publish(record):
        record["privacy"][2]["published"] = {"psnr": 20.81, "ssim": 0.8046, "source": "He et al. 2019, Table 4"}

    edit(runs, "aaaaaaaaaaaa", publish)
    _, page = rendered(runs)
    row = page.row("ridge", "black-box")
    ours = json.loads((runs / "aaaaaaaaaaaa" / "result.json").read_text())["privacy"][2]["metrics"]["psnr"]["value"]
    difference = f"{ours - 20.81:+.2f}".replace("-", "−")
    assert f"published 20.81|ours {difference}|" in row[5]
    assert "published 0.805|" in row[6]
    assert row[-1] == "He et al. 2019, Table 4|"


def test_an_attack_and_a_metric_of_a_later_version_are_shown_by_their_names(runs):
    def rename(record):
        record["worst_case"]["attack"] = "of-tomorrow"
        for row in record["privacy"]:
            row["attack"] = "of-tomorrow"
            row["metrics"] = {"of-the-future": row["metrics"]["ssim"]}

    for run_id in ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"):
        edit(runs, run_id, rename)
    source, page = rendered(runs)
    assert page.row("Attack", "Access")[4] == "of-the-future|"
    assert page.row("ridge", "black-box")[4].startswith("0.866|")
    assert "to the worst attack, white-box." in page.text
    assert "higher leaks more" in source


def test_runs_are_grouped_by_data_model_and_cut(runs):
    edit(runs, "cccccccccccc", lambda r: r.update(cut="features.14"))
    source, page = rendered(runs)
    assert source.count("<article") == 2
    assert "photos, vgg11_bn cut at features.14" in page.text


def test_two_runs_of_one_defense_are_told_apart(runs):
    edit(runs, "cccccccccccc", lambda r: r.update(defense_label="gaussian-noise sigma=0.5", seed=1))
    text = rendered(runs)[1].text
    assert "gaussian-noise sigma=0.5 (bbbbbb, seed 0)" in text
    assert "gaussian-noise sigma=0.5 (cccccc, seed 1)" in text


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"schema": 1}', "'id' is missing"),
        ('{"schema": 2}', "schema 2"),
        ("\udcff", "damaged"),
    ],
)
def test_a_damaged_run_is_skipped_with_the_reason(runs, damage, reason):
    (runs / "aaaaaaaaaaaa" / "result.json").write_text(damage, encoding="utf-8", errors="surrogateescape")
    _, page = rendered(runs)
    assert "no defense" not in {row[0].strip("|") for row in page.rows if row}
    skipped = page.text[page.text.index("Skipped or incomplete") :]
    assert "aaaaaaaaaaaa" in skipped
    assert reason in skipped


def test_an_unfinished_run_is_skipped(runs):
    (runs / "dddddddddddd").mkdir()
    (runs / "dddddddddddd" / "experiment.toml").touch()
    (runs / "models").mkdir(exist_ok=True)
    text = rendered(runs)[1].text
    assert re.search("dddddddddddd .*It is unfinished", text)
    assert "models  It is unfinished" not in text


@pytest.mark.parametrize("name", ["reconstructions.npz", "requests.npz", "env.json"])
@pytest.mark.parametrize("damage", [None, b"", b"PK\x03\x04 no archive"])
def test_a_run_without_one_of_its_files_keeps_its_numbers(runs, name, damage):
    path = runs / "bbbbbbbbbbbb" / name
    path.unlink() if damage is None else path.write_bytes(damage)
    _, page = rendered(runs)
    assert page.row("gaussian-noise sigma=0.5", "77.4")
    assert f"bbbbbbbbbbbb  {name} cannot be read" in page.text


@pytest.mark.parametrize("name", ["reconstructions.npz", "requests.npz"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.98])
def test_a_flipped_byte_in_a_file_is_no_crash(runs, name, share):
    path = runs / "bbbbbbbbbbbb" / name
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 0xFF
    path.write_bytes(content)
    assert rendered(runs)[1].row("gaussian-noise sigma=0.5", "77.4")


def test_pictures_that_do_not_match_the_originals_are_left_out(runs):
    pictures = {"originals": np.zeros((2, 3, 8, 8), np.uint8), "labels": np.zeros(2, int), "ridge": np.zeros(3)}
    np.savez(runs / "bbbbbbbbbbbb" / "reconstructions.npz", **pictures)
    assert "The pictures of this run could not be read." in rendered(runs)[1].text


def test_nothing_to_report_is_one_clear_sentence(tmp_path):
    with pytest.raises(CutlayerError, match="There is no folder"):
        write(tmp_path / "runs")
    with pytest.raises(CutlayerError, match="holds no finished run; make one with `cutlayer run"):
        write(tmp_path)


def test_infinite_and_unknown_values_do_not_break_the_page(runs):
    def extremes(record):
        record["privacy"][2]["metrics"]["psnr"].update(value=math.inf, low=40.0, high=math.inf)
        record["privacy"][2]["metrics"]["ssim"].update(value=None, low=None, high=None)
        record["privacy"] = record["privacy"][2:]
        record.update(worst_case=None, cost=[])

    edit(runs, "aaaaaaaaaaaa", extremes)
    _, page = rendered(runs)
    row = page.row("ridge", "black-box")
    assert row[5] == "∞|40.00 to ∞|"
    assert row[6] == "–|"
    assert "No attack was run." in page.text


def test_writing_again_gives_the_same_page(runs):
    assert write(runs) == runs / "report.html"
    before = (runs / "report.html").read_bytes()
    write(runs)
    assert (runs / "report.html").read_bytes() == before
    assert {p.name for p in runs.iterdir() if p.is_file()} == {"report.html", "index.sqlite"}
