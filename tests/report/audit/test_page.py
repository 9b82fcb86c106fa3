"""The page of an audit: the verdict first, all parts, an answer to each requirement, and nothing to load."""

import re
from dataclasses import replace

import numpy as np
import pytest

from cutlayer.data.legend import Legend
from cutlayer.data.words import Piece
from cutlayer.records.audit import (
    BUDGET,
    NO_ACCESS,
    RECORDED,
    SIMULATED,
    AuditRecord,
    Checked,
    NotTried,
    TapFacts,
    checked,
    figures,
    parse,
)
from cutlayer.records.run import (
    PIXELS,
    WATCH_LIST,
    AttackRecord,
    Ceiling,
    CeilingAt,
    Estimate,
    Flag,
    IdentificationRecord,
)
from cutlayer.report.audit import aisvs
from cutlayer.report.audit.page import page
from cutlayer.report.audit.verdict import verdict
from cutlayer.report.runs.identified import too_few
from tests.browser import barriers, errors

WORDS = ["cutlayer", "audit", "split", "--fail-if", "leakage > 0.5"]
NONE = Ceiling("deterministic")
LOW = Ceiling("", 1000, (CeilingAt(1, Estimate(0.04, 9, 0.03, 0.05), Estimate(0.08, 9, 0.07, 0.09)),), 40.0, 4096)


def attack(name, access, gain, label=""):
    estimate = Estimate(gain, 64, gain - 0.02, gain + 0.02)
    metrics = {"mse": estimate, "psnr": Estimate(12 + 20 * gain, 64, 11, 33), "ssim": estimate,
               "identification": estimate}  # fmt: skip
    return AttackRecord(
        attack=name, label=label or name, access=access, deployment=SIMULATED, n_releases=1, fit_s=1.5, invert_s=0.1,
        n=64, metrics=metrics, leakage_gain=estimate,
    )  # fmt: skip


def found(name, access, share, how=PIXELS):
    estimate = Estimate(share, 64, share, share)
    return IdentificationRecord(
        attack=name, label=name, access=access, deployment=SIMULATED, n_releases=1, how=how, candidates=1000,
        top_1=estimate, top_10=estimate,
    )  # fmt: skip


def record(gain=0.95, share=1.0, bound=NONE, **changes):
    made = AuditRecord(
        schema=1, model="vgg11@features.3", version="0123456789abcdef", foreign=False, defense="none", defense_facts={},
        codec="raw", input=(3, 32, 32), smashed=(16, 16, 16), access="WHITE_BOX", access_says="Every access was had.",
        data="photos", seed=0, n=64, n_releases=1, auxiliary=2000, scored_on=SIMULATED, tap=None,
        accuracy=Estimate(0.9, 500, 0.87, 0.92), accuracy_says="",
        attacks=(attack("mean-image", "QUERY_FREE", 0.0), attack("ridge", "BLACK_BOX", gain),
                 attack("map", "WHITE_BOX", gain / 2, "map, 5 of 100 steps")),
        identification=(found("mean-image", "QUERY_FREE", 0.0), found("watch-list", "BLACK_BOX", share, WATCH_LIST)),
        failed=(), not_tried=(NotTried("decoder", "decoder", "BLACK_BOX", BUDGET, "The budget of 5 s was spent."),),
        ceiling=bound, flags=(), conditions=(), budget_s=300.0, spent_s=287.0, verdict="",
        hashes={"split": {"head.onnx": "ab" * 32, "split.json": "cd" * 32}, "data": {"attacked inputs": "ef" * 32}},
        env={"cutlayer": "0.1.0", "commit": None, "memory_bytes": 8_000_000_000, "command": WORDS}, notes=("A note.",),
    )  # fmt: skip
    made = replace(made, **changes)
    return replace(made, verdict=verdict(made))


def written(of, **pictures):
    images = np.random.default_rng(0).random((4, 3, 8, 8), np.float32)
    shown = {
        "originals": images,
        "rebuilt": {"ridge": images, "mean-image": images},
        "recorded": {},
        "legend": Legend(),
    } | pictures
    return page(of, shown["originals"], shown["rebuilt"], shown["recorded"], shown["legend"])


def test_the_verdict_is_one_sentence_of_what_was_found():
    leaks = record().verdict
    assert leaks.startswith("This split gives its inputs away: ridge, with black-box access, removes 95.0")
    assert "a watch list, with black-box access, picks the input that was sent from 1,000 in 100.0" in leaks
    only_named = record(gain=0.1).verdict
    assert only_named.startswith("This split gives its inputs away: a watch list, ")
    assert "removes" not in only_named
    assert record(0.1, 0.1).verdict.startswith("This audit does not show that the split is safe: nothing that was")
    hidden = record(0.05, 0.01, LOW).verdict
    assert "nobody who sees at most 1 release of an input gets further than a leakage gain of 9.0" in hidden
    # Many releases undo the noise, and the ceiling of one release says nothing of them.
    assert "no ceiling bounds" in record(0.05, 0.01, LOW, n_releases=4).verdict
    for made in (leaks, only_named, hidden):
        assert len(re.findall(r"\.(?!\d)", made)) == 2
        assert made.endswith(" 1 attack was not tried for lack of time.")
    assert len(re.findall(r"\.(?!\d)", record(not_tried=()).verdict)) == 1


def test_an_access_that_the_time_did_not_reach_stands_in_its_row_and_in_the_verdict():
    late = [NotTried(name, name, "WHITE_BOX", BUDGET, "The budget of 5 s was spent.") for name in ("map", "white-box")]
    made = record(attacks=record().attacks[:2], not_tried=tuple(late))
    assert made.verdict.endswith(
        " 2 attacks were not tried for lack of time, among them all that need white-box access."
    )
    assert "not tried: at least what black-box access gets" in written(made)
    assert "not tried: at least" not in written(record())


def test_who_is_identified_among_a_handful_is_no_verdict():
    few = tuple(replace(one, candidates=3) for one in record().identification)
    made = record(gain=0.1, identification=few)
    assert made.identifies() is None
    assert made.verdict.startswith("This audit does not show that the split is safe")
    assert "picks the input" not in made.verdict
    assert "no attack was scored among at least 10 candidates" in written(made)
    assert checked(parse("identified > 0.5"), made).broken


def test_the_parts_stand_in_their_order_and_all_links_lead_somewhere():
    made = record(
        conditions=(Checked(text="leakage > 0.5", broken=True, says="leakage is 0.950: 'leakage > 0.5' holds."),),
        flags=(Flag("above-the-ceiling", "One of the two is wrong."),), tap=TapFacts(n=5, n_releases=1, scored=False),
    )  # fmt: skip
    text = written(made, recorded={"ridge": np.zeros((2, 3, 8, 8), np.float32)})
    places = [text.index(part) for part in (
        made.verdict, "Red flags", "The conditions of --fail-if", "What an attacker with which access gets",
        ">The tap<", "Which input was it?", "What no attacker exceeds", "Every attack, in numbers",
        "What was not tried", "OWASP AISVS 1.0, one by one", "SHA-256 of everything",
    )]  # fmt: skip
    assert places == sorted(places)
    anchors = set(re.findall(r'href="#([^"]+)"', text))
    assert anchors <= set(re.findall(r'id="([^"]+)"', text))
    assert {"access", "identified", "ceiling", "not-tried", "hashes"} <= anchors
    # The only address that is not on the page is where the standard stands, and nothing is loaded from it.
    assert set(re.findall(r'(?:href|src)="(h[^"]+)"', text)) == {aisvs.SOURCE}
    assert "cutlayer audit split --fail-if &#x27;leakage &gt; 0.5&#x27;" in text
    assert "ab" * 32 in text
    assert "The budget of 5 s was spent." in text


def test_each_requirement_is_answered_with_its_own_number():
    text = written(record())
    numbers = [entry.number for entry in aisvs.REQUIREMENTS]
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch(r"v1\.0-C\d+\.\d+\.\d+", number) for number in numbers)
    assert {"v1.0-C4.3.2", "v1.0-C11.2.1", "v1.0-C11.2.5", "v1.0-C11.3.2"} <= set(numbers)
    for entry in (*aisvs.REQUIREMENTS, *aisvs.DRAFTED):
        assert f">{entry.number}<" in text
        answer = entry.answer(record())
        assert answer.state in (aisvs.MEASURED, aisvs.IN_PART, aisvs.NOT_ANSWERED, aisvs.NOT_APPLICABLE)
        assert answer.text.endswith(".")
    by_number = {entry.number: entry.answer for entry in aisvs.REQUIREMENTS}
    assert "95.0" in by_number["v1.0-C11.2.1"](record()).text
    assert by_number["v1.0-C11.1.3"](record()).state == aisvs.IN_PART  # some were left out for want of time
    assert by_number["v1.0-C11.1.3"](record(not_tried=())).state == aisvs.MEASURED
    assert "after about 40 releases" in by_number["v1.0-C11.2.2"](record(bound=LOW)).text
    assert by_number["v1.0-C4.3.2"](record(foreign=True)).state == aisvs.NOT_ANSWERED


def test_what_access_was_not_possible_stands_in_its_row():
    made = record(access="BLACK_BOX", foreign=True, access_says="White-box access was not possible.",
                  attacks=record().attacks[:2],
                  not_tried=(NotTried("map", "map", "WHITE_BOX", NO_ACCESS, "No gradients."),))  # fmt: skip
    text = written(made)
    assert "not possible here: at least what black-box access gets" in text
    assert "foreign head" in text
    assert "No gradients." in text


def test_what_others_wrote_cannot_put_markup_into_the_page():
    bad = "<script>alert(1)</script>"
    text = written(record(model=bad, data=bad, notes=(bad,), env={"cpu": bad, "command": [bad]}))
    assert "<script" not in text


@pytest.mark.parametrize(
    ("text", "broken", "value"),
    [
        ("leakage > 0.5", True, 0.95), ("leakage.query-free > 0.5", False, 0.0), ("leakage > 96%", False, 0.95),
        ("identified >= 100%", True, 1.0), ("accuracy < 0.95", True, 0.9), ("psnr > 30dB", True, 31.0),
        ("ceiling > 0.5", True, 1.0), ("ceiling.identified > 0.5", True, 1.0), ("identified.white-box > 0", True, 1.0),
        ("identification > 50%", True, 0.95), ("identification > 96%", False, 0.95),
    ],
)  # fmt: skip
def test_a_condition_is_compared_with_its_figure(text, broken, value):
    condition = parse(text)
    assert figures(record())[condition.metric] == pytest.approx(value)
    judged = checked(condition, record())
    assert judged.broken is broken
    assert judged.says.endswith(f": {text!r} {'holds, so the audit fails' if broken else 'does not hold'}.")


def test_an_audit_fails_by_a_figure_that_was_not_measured():
    made = record(access="BLACK_BOX", accuracy=None, attacks=(), bound=LOW)
    for text in ("accuracy < 0.5", "leakage > 0.9", "leakage.white-box > 0.9", "psnr > 90"):
        judged = checked(parse(text), made)
        assert (judged.broken, judged.says.split(",")[0][-16:]) == (True, "was not measured")
    assert not checked(parse("ceiling > 0.5"), made).broken


def test_what_weaker_attackers_get_says_nothing_of_attacks_that_the_budget_did_not_reach():
    made = record()
    weaker = [one for one in made.attacks if one.access != "WHITE_BOX"]
    made = replace(made, attacks=tuple(weaker), identification=())
    judged = checked(parse("leakage.white-box > 0.99"), made)
    assert (judged.broken, "was not measured" in judged.says) == (True, True)


def of_sentences(**changes):
    metrics = {"token-accuracy": Estimate(0.9, 64, 0.88, 0.92), "exact": Estimate(0.25, 64, 0.2, 0.3)}
    read = replace(attack("token-ridge", "BLACK_BOX", 0.9), metrics=metrics)
    return record(modality="tokens", attacks=(read,), input=(4,), **changes)


SAID, READ = np.array([[1, 2, 3, 0], [2, 2, 1, 3]]), np.array([[1, 3, 3, 0], [2, 2, 1, 3]])
LEGEND = Legend({i: Piece(word, glued=False, says=True) for i, word in enumerate(("read", "the", "file"), start=1)})


def test_an_audit_of_sentences_shows_what_was_said_and_what_was_read():
    text = written(of_sentences(), originals=SAID, rebuilt={"token-ridge": READ}, legend=LEGEND)
    assert "<li>read the file</li>" in text
    assert "<small>2 of 3 tokens right</small>" in text
    assert text.count('class="wrong"') == 1
    assert "Tokens read, %" in text
    assert "always guesses the most frequent token in every place; 100 % is every token right." in text
    visible = re.sub(r"<[^>]+>", "", re.sub(r"<style>.*?</style>", "", text, flags=re.S))
    assert not re.search("picture|pixel|psnr", visible, re.IGNORECASE)
    assert "<img" not in text


def test_sentences_of_a_tap_whose_truth_is_unknown_are_shown_as_they_were_read():
    made = of_sentences(tap=TapFacts(n=2, n_releases=1, scored=False, rebuilt=("token-ridge",)))
    text = written(made, originals=SAID, rebuilt={}, recorded={"token-ridge": READ}, legend=LEGEND)
    assert "<li>read file file</li>" in text
    assert "nothing says how near these sentences come to what was seen" in text
    assert 'class="wrong"' not in text


def test_a_condition_on_tokens_may_be_in_percent():
    assert checked(parse("token-accuracy > 80%"), of_sentences()).broken
    assert not checked(parse("token-accuracy > 95%"), of_sentences()).broken


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_the_page_is_readable_by_all_at_any_width(browse, tmp_path, width, dark):
    made = record(tap=TapFacts(n=5, n_releases=1, scored=False), bound=LOW,
                  flags=(Flag("above-the-ceiling", "One of the two is wrong."),), scored_on=RECORDED)  # fmt: skip
    (tmp_path / "audit.html").write_text(written(made, recorded={"ridge": np.zeros((2, 3, 8, 8), np.float32)}))
    driver = browse(width=width, dark=dark)
    driver.get((tmp_path / "audit.html").as_uri())
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert driver.execute_script("return document.images.length") > 3
    assert errors(driver) == []
    assert barriers(driver) == []


def test_a_figure_among_a_handful_of_candidates_is_said_to_say_nothing():
    assert "with fewer than 10 candidates" in too_few(9)
    assert too_few(10) == ""
