"""Files that ask for more than they hold: a result or one sentence, within the limits, and nothing but that."""

import os
import re
import signal
import tempfile
from itertools import pairwise
from pathlib import Path

import onnx
import pytest
from onnx import helper

from cutlayer.errors import SplitError
from cutlayer.machine.confined import Limits, confined
from cutlayer.onnx import graph as onnx_graph
from cutlayer.onnx import halves as onnx_halves
from cutlayer.onnx import parity, protos
from cutlayer.onnx.graph import checked, survey
from cutlayer.onnx.halves import part
from tests.fuzz.models import fuzz
from tests.onnx.hostile_models import BUILDERS
from tests.onnx.onnx_models import FOUR, chain, node_of, write

TIGHT = Limits(seconds=2.0, gigabytes=2.0)

SLOW = {"loop_without_end", "constant_loop_without_end"}
"""What no check tells from a long computation, so that it runs until its time is over."""

CUT = {"nested_branches", "many_branches", "many_ends"}
"""What is large for its size and no more."""


@pytest.mark.parametrize("name", BUILDERS)
def test_a_hostile_file_is_cut_or_refused_in_a_sentence(tmp_path, name, capfd):
    (tmp_path / "folder").mkdir()
    path = BUILDERS[name](tmp_path / "folder" / "m.onnx")
    limits = Limits(0.3, 2.0) if name in SLOW else TIGHT
    if name in CUT:
        limits = Limits(60.0, 2.0)
        assert confined(lambda: len(checked(survey(path)).cuts), limits, path) >= 0
    else:
        with pytest.raises(SplitError) as refused:
            confined(lambda: len(survey(path).cuts), limits, path)
        sentence = str(refused.value)
        assert len(sentence.splitlines()) == 1
        assert sentence.isprintable()
        assert len(sentence) < 1500
        assert ("within the time limit of 0.3 s" in sentence) == (name in SLOW)
        if name.startswith("external"):
            assert re.search("claims a tensor 'k1' whose data", sentence)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["huge_constant", "huge_expand", "huge_resize", "huge_pad"])
def test_memory_is_refused_with_the_option_that_allows_more(tmp_path, name):
    path = BUILDERS[name](tmp_path / "m.onnx")
    with pytest.raises(SplitError, match=r"needs more memory than the limit of 2 GB; .* allow more with --limit-gb"):
        confined(lambda: len(survey(path).cuts), TIGHT, path)


def long_chain(path, length):
    names = ["image", *(f"t{i}" for i in range(length)), "logits"]
    return write(path, [f"{after} = Neg {before}" for before, after in pairwise(names)], **FOUR)


def test_a_long_chain_is_cut_everywhere_and_each_node_runs_once(tmp_path, monkeypatch):
    opened = []

    def counted(*args, **options):
        opened.append(len(args[0].graph.node))
        return protos.open_proto(*args, **options)

    monkeypatch.setattr(parity, "open_proto", counted)
    assert len(checked(survey(long_chain(tmp_path / "m.onnx", 199))).cuts) == 199
    # The whole for batches, the whole, and each part once.
    assert sum(opened) == 3 * 200


def test_one_wrong_cut_among_many_is_found(tmp_path, monkeypatch):
    def wrong(file, before, after):
        made = part(file, before, after)
        if before is not None and before.name == "t13":
            made.model.graph.node[0].op_type = "Abs"
        return made

    surveyed = survey(long_chain(tmp_path / "m.onnx", 30))
    for module in (onnx_graph, onnx_halves):
        monkeypatch.setattr(module, "part", wrong)
    found = checked(surveyed)
    assert set(found.refused) == {"t13"}
    assert len(found.cuts) == 29


def test_a_file_for_one_kind_of_processor_is_refused_wherever_its_operators_are(tmp_path):
    for domain, operator in (("com.microsoft.nchwc", "Conv"), ("com.ms.internal.nhwc", "Conv")):
        blocked = node_of("inner = Neg image")
        blocked.domain, blocked.op_type = domain, operator
        value = [helper.make_tensor_value_info("inner", 1, None)]
        body = {f"{which}_branch": helper.make_graph([blocked], which, [], value) for which in ("then", "else")}
        path = write(tmp_path / "m.onnx", ["yes = Not image", ("logits = If yes", body)], **FOUR)
        with pytest.raises(SplitError, match="optimized by ONNX Runtime for one kind of processor"):
            survey(path)


def test_weights_in_a_file_beside_the_model_are_taken(tmp_path):
    path = chain(tmp_path / "m.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert len(survey(path).cuts) == 6


def test_spoiled_files_are_cut_or_refused(tmp_path):
    outcomes = fuzz(tmp_path, 150, seed=0)
    assert outcomes["cut"] > 5
    assert outcomes["refused"] > 50


def test_nothing_of_a_child_that_was_stopped_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def work():
        (Path(tempfile.mkdtemp()) / "half").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(SplitError, match=r"ended the process that worked on it \(SIGKILL\)"):
        confined(work, TIGHT, "m.onnx")
    assert list(tmp_path.iterdir()) == []
