import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from cutlayer.errors import ConfigError
from cutlayer.machine import compute


@pytest.mark.parametrize(("name", "sentence"), [("xpu", r"no device 'xpu'.*cpu"), ("cpu:x", "cpu:x")])
def test_an_absent_or_malformed_device_is_refused(name, sentence):
    with pytest.raises(ConfigError, match=sentence):
        compute.pick_device(name)


def test_the_cpu_is_always_there_and_the_default_exists():
    assert compute.pick_device("cpu") == torch.device("cpu")
    assert torch.zeros(1, device=compute.pick_device()).item() == 0


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_autocast_follows_the_hardware(monkeypatch, fast, dtype):
    monkeypatch.setattr(compute, "has_fast_bf16", lambda: fast)
    with compute.autocast("cpu"):
        assert nn.Linear(4, 4)(torch.ones(1, 4)).dtype == dtype
    with compute.autocast("cpu", enabled=False):
        assert nn.Linear(4, 4)(torch.ones(1, 4)).dtype == torch.float32


def test_modules_come_back_contiguous_and_keep_their_parameters():
    module = nn.Conv2d(3, 8, 3)
    weight, values = module.weight, module.weight.detach().clone()
    with compute.placed(torch.device("cpu"), module):
        assert weight.is_contiguous(memory_format=torch.channels_last)
    assert module.weight is weight
    assert weight.is_contiguous()
    assert torch.equal(weight, values)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
def test_the_allocator_takes_its_settings_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\nfrom cutlayer.machine.compute import tune_allocator as f; assert f()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert compute.tune_allocator() is False
