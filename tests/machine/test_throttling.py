import json
from collections import namedtuple
from dataclasses import asdict

import psutil
import pytest

from cutlayer.machine.cgroup import Quota, cpu_group, quota_in_force
from cutlayer.machine.throttling import Condition, Reading, condition, held_back, own_clock_hz, stopped


def write(root, **files):
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{text}\n")


MOUNTS = {"proc/self/mounts": "none /cg cgroup2 rw 0 0", "cg/cgroup.controllers": "cpu memory"}


def test_the_tightest_quota_counts_whoever_set_it(tmp_path):
    write(
        tmp_path,
        **MOUNTS,
        **{
            "proc/self/cgroup": "0::/pod/container",
            "cg/pod/cpu.max": "25000 100000",
            "cg/pod/cpu.stat": "usage_usec 7\nnr_periods 40\nnr_throttled 30\nthrottled_usec 2",
            "cg/pod/container/cpu.max": "50000 100000",
            "cg/pod/container/cpu.stat": "nr_periods 1\nnr_throttled 1\nthrottled_usec 1",
        },
    )
    assert quota_in_force(tmp_path) == Quota(0.25, str(tmp_path / "cg/pod/cpu.max"), 40, 30, 2000)


def test_no_quota_is_none(tmp_path):
    assert quota_in_force(tmp_path) is None
    write(tmp_path, **MOUNTS, **{"proc/self/cgroup": "0::/", "cg/cpu.max": "max 100000"})
    assert quota_in_force(tmp_path) is None


def test_version_one_counts_in_other_units(tmp_path):
    write(
        tmp_path,
        **{
            "proc/self/mounts": "none /u cgroup2 rw 0 0\nnone /cg cgroup rw,cpu,cpuacct 0 0",
            "u/cgroup.controllers": "hugetlb",
            "proc/self/cgroup": "4:cpu,cpuacct:/here\n0::/",
            "cg/cpu.cfs_quota_us": "-1",
            "cg/cpu.cfs_period_us": "100000",
            "cg/here/cpu.cfs_quota_us": "5000",
            "cg/here/cpu.cfs_period_us": "10000",
            "cg/here/cpu.stat": "nr_periods 4\nnr_throttled 3\nthrottled_time 2000",
        },
    )
    assert quota_in_force(tmp_path) == Quota(0.5, str(tmp_path / "cg/here/cpu.cfs_quota_us"), 4, 3, 2000)


def test_a_group_that_is_not_mounted_here_is_the_root(tmp_path):
    write(tmp_path, **MOUNTS, **{"proc/self/cgroup": "0::/the/hosts/path"})
    assert cpu_group(tmp_path).path == tmp_path / "cg"


def test_a_machine_that_tells_nothing_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    assert condition(tmp_path) == Condition()
    assert held_back(Condition(), Condition()) == []
    assert stopped(Condition(), Condition()) is None


def test_each_reading_has_its_source(tmp_path, monkeypatch):
    sensor = namedtuple("sensor", "label current high critical")
    monkeypatch.setattr(
        psutil,
        "sensors_temperatures",
        lambda: {"cpu_thermal": [sensor("", 61.5, None, None)], "nvme": [sensor("Composite", 40.0, None, None)]},
        raising=False,
    )
    write(
        tmp_path,
        **{
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": 3,
            "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": 4,
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": 1500000,
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": 600000,
            "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0",
            "sys/class/thermal/cooling_device0/cur_state": 2,
            "sys/class/thermal/cooling_device1/type": "pwm-fan",
            "sys/class/thermal/cooling_device1/cur_state": 1,
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
        },
    )
    seen = condition(tmp_path)
    assert seen == Condition(
        None,
        Reading(7, "thermal_throttle/core_throttle_count"),
        Reading(1, "thermal/cooling_device"),
        Reading(0x50005, "get_throttled"),
        Reading(61.5, "cpu_thermal"),
        Reading(600e6, "cpufreq/scaling_cur_freq"),
    )
    assert json.loads(json.dumps(asdict(seen)))["temperature_c"] == {"value": 61.5, "source": "cpu_thermal"}


def test_damaged_files_are_as_none(tmp_path, monkeypatch):
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    write(
        tmp_path,
        **MOUNTS,
        **{
            "proc/self/cgroup": "0::/",
            "cg/cpu.max": "what 100000",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "<unknown>",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "",
        },
    )
    assert condition(tmp_path) == Condition()


def test_only_events_between_two_moments_count():
    before = Condition(thermal_throttles=Reading(7, "count"), firmware=Reading(0x40000, "get_throttled"))
    assert held_back(before, before) == []
    after = Condition(
        thermal_throttles=Reading(9, "count"), cooling=Reading(1, "cooling"), firmware=Reading(0x50001, "get_throttled")
    )
    assert held_back(before, after) == [
        "the CPU throttled itself for heat 2 times (count)",
        "the clock was held down for heat (cooling)",
        "the firmware reports under-voltage (get_throttled)",
    ]


@pytest.mark.parametrize(("bits", "doubtful"), [(0x80000, False), (0x80008, True), (0x4, True), (0xF0000, False)])
def test_the_firmwares_memory_of_long_ago_does_not_count(bits, doubtful):
    moment = Condition(firmware=Reading(bits, "get_throttled"))
    assert bool(held_back(moment, moment)) == doubtful


def test_a_quota_counts_from_one_moment_to_the_next():
    before, after = (Condition(quota=Quota(0.25, "cpu.max", *counts)) for counts in ((10, 5, 100), (50, 41, 700)))
    assert stopped(before, after) == Quota(0.25, "cpu.max", 40, 36, 600)
    assert stopped(Condition(), after) == after.quota


def test_the_clock_of_the_core_that_this_process_runs_on(tmp_path, monkeypatch):
    assert own_clock_hz(tmp_path) is None
    cores = {f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq": 1_000_000 + core for core in range(4)}
    write(tmp_path, **cores)
    monkeypatch.setattr(psutil.Process, "cpu_num", lambda _: 3, raising=False)
    assert own_clock_hz(tmp_path) == 1_000_003e3
    monkeypatch.delattr(psutil.Process, "cpu_num")
    assert own_clock_hz(tmp_path) is None
