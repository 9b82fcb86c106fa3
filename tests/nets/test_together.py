"""A decoder that two processes train together, started by torchrun, beside one that a single process trains."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cutlayer.errors import ConfigError
from cutlayer.machine import ranks
from cutlayer.nets.together import share, together

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

FIT = """
import sys
from pathlib import Path
import numpy as np
import torch
from cutlayer.attacks.features.decoder import Decoder
from cutlayer.machine import ranks
from tests.attacks.victims import smooth_images
from types import SimpleNamespace
from cutlayer.attacks.view import Access, View
from cutlayer.data.splits import Dataset
from cutlayer.defenses.base import Defense
from cutlayer.privacy.view import view
from cutlayer.spec import TensorSpec

torch.set_num_threads(1)
torch.manual_seed(0)
head = torch.nn.Conv2d(1, 4, 3, padding=1)

@torch.no_grad()
def query(images):
    return head(images)

images = smooth_images(150, seed=1)
seen = view(
    Access.BLACK_BOX, input=TensorSpec(images.shape[1:], "float32", 0.0, 1.0), smashed=TensorSpec((4, 6, 6)),
    auxiliary=Dataset(images.numpy(), np.zeros(150, np.int64)), query=query, defense=Defense(),
    tail=torch.nn.Flatten(), head=head, device=torch.device("cpu"),
)
with ranks.joined(["attack"]):
    # 135 images to learn from, in batches of 67: the last batch has one, which two processes cannot share.
    attack = Decoder(capacity="res_normN2C16", epochs=4, batch=67)
    attack.fit(seen)
    with ranks.first_writes(Path(sys.argv[1])) as folder:
        np.save(folder / f"{ranks.count()}.npy", attack.invert(query(smooth_images(16, seed=2))).numpy())
"""


def run(*words, env=None):
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, cwd=ROOT, timeout=240,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip


def test_two_processes_learn_what_one_learns(tmp_path):
    """Same batches, mean gradient, mean and variance of the whole batch: what is left is the order of sums.

    With a mean and variance of each process's own share, the pictures would differ by 0.06.
    """
    script = tmp_path / "fit.py"
    script.write_text(FIT)
    alone, both = run(sys.executable, script, tmp_path), run(*TORCHRUN, script, tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert both.returncode == 0, both.stderr
    one, two = np.load(tmp_path / "1.npy"), np.load(tmp_path / "2.npy")
    assert one.std() > 0.05
    assert "Warning" not in both.stderr.replace("FutureWarning: torch.distributed", "")
    np.testing.assert_allclose(two, one, atol=1e-3)


def test_only_an_attack_is_started_by_torchrun(monkeypatch):
    done = run(*TORCHRUN, "-m", "cutlayer.cli", "run", "experiments/demo.toml")
    assert done.returncode != 0
    assert "torchrun can start `cutlayer attack SPLIT TAP`" in done.stderr
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ConfigError, match="--watch"), ranks.joined(["attack", "split", "tap", "--watch"]):
        pass
    with ranks.first_writes(Path("out")) as folder:
        assert folder != Path("out")


def test_alone_nothing_is_shared():
    rows, network = torch.arange(7), torch.nn.Linear(2, 2)
    assert share(rows) == (rows, 1.0)
    with together(network) as learner:
        assert learner is network
