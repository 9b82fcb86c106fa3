"""A plan with a folder of images of one's own: the device and the attackers see the same images."""

import numpy as np
import pytest
from PIL import Image

from cutlayer.errors import ConfigError
from cutlayer.experiment import plan
from cutlayer.experiment.run import run_all

PLAN = """
data = "pictures"
input = "1x16x16"
model = "he_lenet"
cut = "conv1"
training = {epochs = 1}
measure = {count = 6, private = 8, warmup = 1}
attack = {name = "ridge"}
"""


@pytest.fixture
def folder(tmp_path):
    """Bright and dark images of several sizes, some of which cannot be read, and a plan beside them."""
    rng = np.random.default_rng(0)
    for label, least in (("bright", 128), ("dark", 0)):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for i in range(40):
            pixels = rng.integers(least, least + 128, size=(4, 4 + i % 3, 3), dtype=np.uint8)
            path = tmp_path / "pictures" / label / f"{i:02}.png"
            Image.fromarray(pixels).resize((24, 20), Image.Resampling.BICUBIC).save(path)
            if i % 5 == 2:
                path.write_bytes(path.read_bytes()[:-40])
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def run(folder, say=print, **settings):
    return run_all(plan.load(folder / "plan.toml", settings), folder / "runs", resume=True, data_root=None, say=say)


def test_a_folder_of_images_from_the_plan_to_the_record(folder):
    said = []
    (result,) = run(folder, said.append)
    assert result.data == "pictures"
    assert result.input == (1, 16, 16)
    assert result.classes == ("bright", "dark")
    broken = "16 files cannot be read and are left out: "
    assert any(text.startswith(broken) for text in said)
    assert any(flag.flag == "data" and flag.text.startswith(broken) for flag in result.flags)
    # The device dealt the images out as the attacker did: another order would leave nothing to reconstruct.
    (attack,) = result.privacy
    assert attack.leakage_gain.value > 0.8


def test_a_model_is_not_trained_on_images_without_classes(folder):
    with pytest.raises(ConfigError, match="have no classes, which a model is trained on: put the images of each class"):
        run(folder, data=str(folder / "pictures" / "dark"))


def test_a_size_is_not_for_data_that_have_one(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"images of digits are 1x8x8, not 1x16x16; leave out --input\.$"):
        run(folder, data="digits")
    (tmp_path / "digits").mkdir()
    with pytest.raises(ConfigError, match=r"For the folder digits .* write ./digits"):
        run(folder, data="digits")
