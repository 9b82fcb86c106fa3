"""What continuous integration reads: 0, 1 or 2, and why."""

import copy
import json
from pathlib import Path

import pytest

from cutlayer.errors import ConfigError
from cutlayer.profile import compare as profiles
from cutlayer.profile import conditions
from cutlayer.records.dataclass_json import load
from cutlayer.records.profile import Profile
from tests.command import cutlayer

GOLDEN = Path(__file__).parents[1] / "golden" / "profile" / "profile.json"


def times(p50, p95=None, n=100):
    return {"p50": p50, "p95": p95, "p99": None, "n": n}


def profile():
    """Two cuts with two codecs over one network, in round figures."""
    data = json.loads(GOLDEN.read_text())
    (row, *_), accuracy = data["cuts"], {"value": 0.9, "n": 200, "low": 0.8, "high": 0.95}

    def cut(name, ns):
        stages = {"head": times(ns // 2, ns)}
        raw = row["codecs"]["raw"] | {"bytes": 288, "encode_ns": times(1000, 2000), "stages_ns": stages}
        fp16 = row["codecs"]["int8"] | {"bytes": 144, "encode_ns": times(1500, 2500), "accuracy": accuracy}
        measured = {"end_to_end_ns": times(ns, 2 * ns), "source": "measured", "stages_ns": {"tail": 1e6}}
        computed = {"end_to_end_ns": times(ns, None, 0), "source": "model", "stages_ns": {}}
        codecs, networks = {"raw": raw, "fp16": fp16}, {"wifi": {"raw": measured, "fp16": computed}}
        figures = {"cut": name, "bytes": 288, "head_ns": times(ns // 2, ns), "codecs": codecs, "networks": networks}
        return copy.deepcopy(row | figures)

    return data | {"model": "tiny", "cuts": [cut("early", 4_000_000), cut("late", 8_000_000)]}


def slower(factor, cut=1):
    """The same profile with one cut's measured time over Wi-Fi changed."""
    after = profile()
    end_to_end = after["cuts"][cut]["networks"]["wifi"]["raw"]["end_to_end_ns"]
    end_to_end.update({q: round(end_to_end[q] * factor) for q in ("p50", "p95")})
    return after


def figures(data):
    return profiles.figures(load(Profile, data))


def breaks(text, before, after):
    condition = conditions.parse(text)
    rows = conditions.compare(figures(before), figures(after), condition.metric)
    return [(row.cut, row.network, row.codec) for row, _, _ in conditions.broken(condition, rows)]


@pytest.mark.parametrize(
    ("text", "broken", "factor"),
    [
        ("p95 > 1.1x", True, 1.2),
        ("p95>1.19x", True, 1.2),
        ("p95 > 1.2x", False, 1.2),
        ("p95 >= 1.2x", True, 1.2),
        ("p95 > 19%", True, 1.2),
        ("p95 > 20%", False, 1.2),
        ("p95 < -5%", False, 1.2),
        ("p95 > 19ms", True, 1.2),
        ("p95 > 19200us", False, 1.2),
        ("p50 >= 0.0096s", True, 1.2),
        ("head.p95 > 1x", False, 1.2),
        ("encode.p50 > 1x", False, 1.2),
        ("p95 < -5%", True, 0.9),
        ("p95 > 1.01x", False, 0.9),
    ],
)
def test_a_condition_against_a_cut_whose_time_has_changed(text, broken, factor):
    assert breaks(text, profile(), slower(factor)) == ([("late", "wifi", "raw")] if broken else [])


def test_the_worst_comes_first():
    after = slower(1.2)
    after["cuts"][0]["networks"]["wifi"]["raw"]["end_to_end_ns"]["p95"] *= 3
    assert [cut for cut, _, _ in breaks("p95 > 1x", profile(), after)] == ["early", "late"]


def test_bytes_of_each_codec_and_units():
    after = profile()
    after["cuts"][0]["codecs"]["fp16"]["bytes"] = 200
    assert breaks("bytes > 1x", profile(), after) == [("early", "", "fp16")]
    above = [(cut, codec) for cut, _, codec in breaks("bytes > 199B", profile(), after)]
    assert above == [("early", "fp16"), ("early", ""), ("early", "raw"), ("late", ""), ("late", "raw")]


def test_the_unit_of_a_figure_follows_from_its_name():
    of_codec = {("stages.head.p50", "", "raw"): "ns", ("stages.tail", "wifi", "raw"): "ns"}
    units = {("peak_rss_bytes", "", ""): "bytes", **of_codec, ("accuracy.value", "", "fp16"): ""}
    before = figures(profile())
    for (metric, network, codec), unit in units.items():
        assert before[profiles.Row(metric, "early", network, codec)].unit == unit


def test_what_was_computed_is_not_compared_with_what_was_measured():
    after = profile()
    requests = after["cuts"][0]["networks"]["wifi"]["fp16"]
    requests["source"], requests["end_to_end_ns"] = "measured", times(10**12, 10**12)
    assert breaks("p50 > 1x", profile(), after) == []


@pytest.mark.parametrize(
    "text", ["", "p95", "p95 > ", "p95 > 1.1", "p95 = 1.1x", "p95 > x", "p95 > 5parsecs", "> 1x", "p95 > 1x or not"]
)
def test_nonsense_is_no_condition(text):
    with pytest.raises(ConfigError, match="is not a condition"):
        conditions.parse(text)


def run(tmp_path, before, after, *words):
    for name, data in (("a", before), ("b", after)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "profile.json").write_text(data if isinstance(data, str) else json.dumps(data))
    return cutlayer("compare", tmp_path / "a", tmp_path / "b", *words)


def test_exit_code_0_with_a_table(tmp_path):
    done = run(tmp_path, profile(), profile())
    assert (done.returncode, done.stderr) == (0, "")
    assert "1.00x  100, 100  measured" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["p50", *["early"] * 4, *["late"] * 4]


def test_exit_code_1_where_one_of_several_conditions_is_broken(tmp_path):
    done = run(tmp_path, profile(), slower(1.2), "--fail-if", "bytes > 1x", "--fail-if", "p95 > 1.1x")
    assert done.returncode == 1, done.stderr
    assert "FAIL: p95 > 1.1x, 1 of 2" in done.stdout
    assert "ok: bytes > 1x, 0 of 6" in done.stdout


INVALID = {**profile(), "verdict": "INVALID", "reasons": ["it was throttled"]}


@pytest.mark.parametrize(
    ("before", "condition", "complaint"),
    [
        (profile(), "p95 > much", "is not a condition"),
        (profile(), "p99 > 1x", "first profile has no p99"),
        (profile(), "p95 > 12B", "p95 is in ns"),
        (INVALID, "p95 > 1x", "it was throttled"),
        ("{}", "p95 > 1x", "is not a profile"),
        ('{"schema": 2}', "p95 > 1x", "has format 2"),
        ("oops", "p95 > 1x", "is not a profile"),
        ({**profile(), "cuts": []}, "p95 > 1x", "is not a profile"),
        ({**profile(), "machine": None}, "p95 > 1x", "is not a profile"),
        ({key: value for key, value in profile().items() if key != "verdict"}, "bytes > 1x", "is not a profile"),
    ],
)
def test_exit_code_2_and_one_sentence_where_nothing_can_be_said(tmp_path, before, condition, complaint):
    done = run(tmp_path, before, profile(), "--fail-if", condition)
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr.replace("\n", " ")
    assert done.stderr.count("cutlayer:") == 1


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400])
def test_what_is_no_number_passes_no_condition(tmp_path, number):
    after = slower(1.2)
    after["cuts"][1]["networks"]["wifi"]["raw"]["end_to_end_ns"]["p95"] = number
    done = run(tmp_path, profile(), after, "--fail-if", "p95 > 1.1x")
    assert done.returncode == 2, done.stdout
    assert "is not a profile, or is damaged" in done.stderr or "is not a finite number" in done.stderr


def test_bytes_of_an_invalid_profile_are_what_they_are(tmp_path):
    done = run(tmp_path, INVALID, profile(), "--fail-if", "bytes > 0%")
    assert done.returncode == 0, done.stderr
    assert "it was throttled" in done.stderr


def test_a_profile_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        profiles.load(tmp_path / "absent")


def test_other_settings_and_machines_are_said(tmp_path):
    after = profile()
    after["settings"]["threads"], after["machine"]["processor"], after["model"] = 2, "another", "large"
    done = run(tmp_path, INVALID, after)
    assert done.returncode == 0
    threads, processor = "settings.threads: 1 and 2", "machine.processor: AMD EPYC and another"
    for note in ("it was throttled", "of two models, tiny and large", threads, processor):
        assert note in done.stderr


def test_another_instruction_set_or_torch_is_said_and_an_old_record_is_not_known_to_differ():
    def on(**machine):
        data = profile()
        return load(Profile, data | {"machine": data["machine"] | machine})

    with_bf16, without = (on(instruction_sets=sets, torch="2.13.0") for sets in (["avx2", "avx512_bf16"], ["avx2"]))
    assert profiles.differences(with_bf16, without) == [
        "The profiles differ in machine.instruction_sets: ['avx2', 'avx512_bf16'] and ['avx2']."
    ]
    older = on(instruction_sets=["avx2"], torch="2.12.0")
    assert profiles.differences(without, older) == ["The profiles differ in machine.torch: 2.13.0 and 2.12.0."]
    assert profiles.differences(load(Profile, profile()), without) == []
