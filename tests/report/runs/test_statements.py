"""What the page says of differences: only what the intervals allow, seed by seed, and nothing about other processes."""

import json
import re

import pytest

from cutlayer.records.reading import read
from cutlayer.records.run import Estimate
from cutlayer.report.kit.comparison import against, less, mean, sign
from cutlayer.report.runs.claims import judge, verdict
from cutlayer.report.runs.groups import group
from cutlayer.report.runs.page import write
from cutlayer.report.runs.story import in_one_sentence
from cutlayer.report.runs.terminal import text
from tests.report.conftest import ENV, estimate, read_results, result, write_run


def record(run_id, sigma, seed=0, **utility):
    made = result(run_id, sigma) | {"seed": seed}
    made["utility"] |= utility
    return made


def leak(made, gain, half=0.01):
    """The same record, with this leakage gain of its worst attack."""
    made["worst_case"]["leakage_gain"] = estimate(gain, half)
    return made


def said(runs):
    """The text of the page, and the opening sentence of its only group."""
    page = re.sub(r"<style>.*?</style>", "", write(runs).read_text(), flags=re.S)
    (only,) = group(read(runs)[0])
    return re.sub(r"<[^>]+>", " ", page).replace("\N{NO-BREAK SPACE}", " "), in_one_sentence(only).replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_a_difference_needs_intervals_apart():
    low, high, near = Estimate(0.5, 10, 0.4, 0.6), Estimate(0.9, 10, 0.8, 1.0), Estimate(0.62, 10, 0.55, 0.7)
    assert [sign(less(a, b)) for a, b in ((high, low), (low, high), (near, low), (low, near))] == [1, -1, 0, 0]
    assert sign(less(low, Estimate(0.9, 1, float("nan"), float("nan")))) == 0
    assert against(less(low, high), "without").startswith("less than without (−40.0 points, 95 % interval −60.0 to")
    assert against(less(near, low), "without").startswith("not told apart from that without (+12.0 points")


def test_a_mean_over_seeds_is_told_apart_only_where_every_seed_is():
    clear, unclear = Estimate(-0.1, 10, -0.15, -0.05), Estimate(-0.04, 10, -0.09, 0.01)
    assert sign(mean([clear, clear])) == -1
    assert sign(mean([clear, unclear])) == 0
    assert mean([clear, unclear]).value == pytest.approx(-0.07)
    assert sign(mean([])) == 0


def test_nothing_is_said_of_a_time_that_another_process_took(tmp_path):
    bare, noisy = record("a" * 12, 0.0), record("b" * 12, 0.5)
    noisy["cost"][0]["end_to_end"]["p50"] = 10 * bare["cost"][0]["end_to_end"]["p50"]
    noisy["cost"][0]["stages"]["protect"]["p50"] = 250_000
    for made in (bare, noisy):
        write_run(tmp_path, made)
    page, _ = said(tmp_path)
    assert "; the defense itself takes 250 µs on the device." in page
    assert not re.findall(r"[\d.]+ (?:ms|µs|s) (?:more|less|faster|slower)", page)


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (100_000, 300_000, "it adds 200 µs to a request (95 % interval 100 µs to 300 µs, 12 rounds)"),
        (-100_000, 500_000, "it changes a request by 200 µs, not told apart from nothing (95 % interval −100 µs to"),
        (-300_000, -100_000, "it takes 200 µs from a request (95 % interval −300 µs to −100 µs, 12 rounds)"),
    ],
)
def test_what_was_measured_in_turns_is_said_with_its_interval(tmp_path, low, high, sentence):
    bare, noisy = record("a" * 12, 0.0), record("b" * 12, 0.5)
    noisy["cost"][0]["added_ns"] = {"value": (low + high) / 2, "n": 12, "low": low, "high": high}
    for made in (bare, noisy):
        write_run(tmp_path, made)
    assert f"Measured in turns with the undefended model, {sentence}" in said(tmp_path)[0]


def test_an_accuracy_that_is_not_told_apart_is_neither_more_nor_less(tmp_path):
    write_run(tmp_path, record("a" * 12, 0.0))
    write_run(tmp_path, record("b" * 12, 0.5, change=estimate(0.004, 0.01, 500)))
    page, opening = said(tmp_path)
    assert "not told apart from that without a defense (+0.4 points, 95 % interval −0.6 to +1.4)" in page
    assert "With gaussian-noise sigma=0.5, accuracy is not told apart from that without a defense" in opening
    assert "(+0.4)" in text(read_results(tmp_path))
    write_run(tmp_path, record("c" * 12, 2.0, change=estimate(-0.12, 0.01, 500)))
    page, opening = said(tmp_path)
    assert "less than without a defense (−12.0 points, 95 % interval −13.0 to −11.0)" in page


def test_the_defense_that_leaks_least_is_named_beside_those_it_is_not_told_apart_from(tmp_path):
    write_run(tmp_path, leak(record("a" * 12, 0.0), 0.9))
    write_run(tmp_path, leak(record("b" * 12, 0.5), 0.61))
    write_run(tmp_path, leak(record("c" * 12, 2.0), 0.60))
    assert (
        "60.0 %, that of gaussian-noise sigma=2.0; it is not told apart from that of gaussian-noise sigma=0.5."
        in (said(tmp_path)[1])
    )
    write_run(tmp_path / "other", leak(record("d" * 12, 0.0), 0.9))
    write_run(tmp_path / "other", leak(record("e" * 12, 0.5), 0.85, half=0.2))
    assert (
        "85.0 %, that of gaussian-noise sigma=0.5; it is not told apart from that of no defense."
        in (said(tmp_path / "other")[1])
    )


@pytest.fixture
def seeds(tmp_path):
    """Two seeds whose baselines differ by 20 points and 0.44 of leakage; noise takes 2 points and 0.4 in both."""
    for seed, accuracy, gain in ((0, 0.9, 0.99), (1, 0.7, 0.55)):
        baseline = estimate(accuracy, 0.02, 500)
        bare = record(f"{seed}a".ljust(12, "f"), 0.0, seed, accuracy=baseline, baseline=baseline)
        noisy = record(
            f"{1 - seed}b".ljust(12, "0"), 0.5, seed, accuracy=estimate(accuracy - 0.02, 0.02, 500), baseline=baseline,
            change=estimate(-0.02, 0.01, 500),
        )  # fmt: skip
        write_run(tmp_path, leak(bare, gain))
        write_run(tmp_path, leak(noisy, gain - 0.4))
    return tmp_path


def test_seeds_are_paired_and_averaged_with_their_spread(seeds):
    (only,) = group(read(seeds)[0])
    assert [(s.label, [m.run.result.seed for m in s.members]) for s in only.settings] == [
        ("no defense", [0, 1]),
        ("gaussian-noise sigma=0.5", [0, 1]),
    ]
    bare, noisy = only.settings
    assert noisy.change.value == pytest.approx(-0.02)
    assert noisy.usefulness.value == pytest.approx(0.78)
    assert noisy.baseline.value == bare.usefulness.value == pytest.approx(0.8)
    # Over all seeds, the intervals overlap; within each seed, they do not.
    assert sign(less(noisy.leakage, bare.leakage)) == 0
    assert sign(noisy.less_leakage(bare)) == -1
    page, opening = said(seeds)
    assert "the worst attack recovers 77.0 %" in opening
    assert (
        "is 37.0 %, that of gaussian-noise sigma=0.5. With gaussian-noise sigma=0.5, accuracy is less than" in opening
    )
    assert "(−2.0 points, 95 % interval −3.0 to −1.0)" in opening
    assert "seeds 68.0 to 88.0" in page
    assert "gaussian-noise sigma=0.5, seed 1" in page


def test_a_seed_without_its_baseline_is_compared_with_none(seeds):
    write_run(seeds, leak(record("c" * 12, 2.0, seed=7), 0.1))
    (only,) = group(read(seeds)[0])
    bare, _, lonely = only.settings
    assert lonely.less_leakage(bare).n == 0
    assert sign(lonely.less_leakage(bare)) == 0


def test_runs_of_another_training_stand_apart(seeds):
    write_run(seeds, record("c" * 12, 0.0, seed=0) | {"setup": "0123456789ab", "name": "longer"})
    assert sorted(len(g.members) for g in group(read(seeds)[0])) == [1, 4]
    assert {g.title.rpartition("(")[2] for g in group(read(seeds)[0])} == {"demo)", "longer)"}


def test_other_machines_and_busy_ones_are_flags(seeds):
    (one, *_) = sorted(path for path in seeds.iterdir() if path.is_dir())
    (one / "env.json").write_text(
        json.dumps(ENV | {"packages": {"torch": "2.12.0", "numpy": "2.3.5"}, "instruction_sets": ["avx2"]})
    )
    made = json.loads((one / "result.json").read_text())
    made["cost"][1]["others"] = 0.35
    (one / "result.json").write_text(json.dumps(made))
    page, _ = said(seeds)
    assert f"The runs differ in torch: 2.12.0 ({one.name}); 2.13.0 (" in page
    assert "differ in numpy" not in page
    assert "differ in instruction sets" not in page, "records without them are not known to differ"
    assert " on grpc-onnx was timed, other processes took up to 35 % of the cores: a difference of two times" in page
    assert page.index("other-conditions") < page.index("What can the server see?") + 3000
    assert "! other-conditions: The runs differ" not in text(read_results(seeds)), "the terminal has no environment"


def test_text_that_warns_of_nothing_has_no_bar_of_a_warning(runs):
    source = write(runs).read_text()
    part = source[source.index("Is the picture gone, or only faint?") :]
    assert '<ul class="plain">' in part
    assert 'class="flags"' not in part


NOISE = "gaussian-noise sigma=0.5"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (f"leakage of {NOISE} < leakage of none", "supported by the table"),
        (f"leakage of none > leakage of {NOISE}", "supported by the table"),
        (f"leakage of {NOISE} > leakage of none", "not supported by the table"),
        (f"accuracy of {NOISE} < accuracy of none", "supported by the table"),
        (f"accuracy of none > accuracy of {NOISE}", "supported by the table"),
        (f"accuracy of none < accuracy of {NOISE}", "not supported by the table"),
        (f"leakage of {NOISE} by ridge > leakage of {NOISE} by nearest", "supported by the table"),
        (f"ssim of {NOISE} by ridge > 0.5", "supported by the table"),
        ("leakage of none > 0.5", "supported by the table"),
        ("leakage of none > 0.6", "not supported by the table"),  # The second seed leaks 0.55.
        ("leakage of patrol < leakage of none", "not checked"),
        ("leakage of none by patrol < 1", "not checked"),
        ("more privacy", "not checked"),
    ],
)
def test_a_claim_is_judged_by_the_table(seeds, text, verdict):
    (only,) = group(read(seeds)[0])
    assert judge(only, text)[0] == verdict


def test_a_claim_is_printed_as_a_claim_with_its_verdict(seeds):
    page, _ = said(seeds)
    assert "The plan claims:  Noise hides pictures, at a price." in page
    assert "The plan states no expectation" in page
    for path in seeds.glob("*/result.json"):
        made = json.loads(path.read_text())
        made["expect"] = [f"leakage of {NOISE} < leakage of none", f"accuracy of {NOISE} > 0.95"]
        path.write_text(json.dumps(made))
    page, _ = said(seeds)
    assert "Not supported by the table: 1 of 2 expectations is not met." in page
    assert f"supported by the table : leakage of {NOISE} &lt; leakage of none (37.0 % against 77.0 %)" in page
    (only,) = group(read(seeds)[0])
    missing = judge(only, "leakage of patrol < 0.1")
    assert verdict([missing]).startswith("Not checked: for its expectation")
    assert verdict([missing, judge(only, "leakage of none < 0.1")]).startswith("Not supported by the table: 1 of 2")
    printed = text(read_results(seeds))
    assert "The plan claims: Noise hides pictures, at a price." in printed
    assert f"not supported by the table: accuracy of {NOISE} > 0.95 (78.0 % against 95.0 %, which is" in printed
