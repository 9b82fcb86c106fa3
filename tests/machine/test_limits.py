"""The limits of this process; whatever changes a process runs in another one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cutlayer.errors import ConfigError
from cutlayer.machine.cgroup import cpu_group
from cutlayer.machine.limits import PERIOD_US, cores, pin, quota

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux pins processes")


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@linux
def test_a_pinned_process_and_its_threads_stay_on_their_core():
    code = (
        "import os, threading; from cutlayer.machine.limits import cores, pin\n"
        "last = cores()[-1]; pin([last]); seen = []\n"
        "thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))\n"
        "thread.start(); thread.join()\n"
        "print(cores() == (last,), seen == [{last}])"
    )
    assert python(code) == ["True", "True"]
    assert cores() == tuple(sorted(os.sched_getaffinity(0)))


@linux
@pytest.mark.parametrize("numbers", [[], [4711], [-1]])
def test_an_absent_core_is_refused(numbers):
    with pytest.raises(ConfigError, match="this process may run on"):
        pin(numbers)


def test_a_system_that_pins_nothing_says_so(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cores() is None
    with pytest.raises(ConfigError, match="cannot pin a process"):
        pin([0])


@pytest.mark.parametrize("cpus", [0.0, -0.5, float("nan"), 1e9])
def test_a_quota_out_of_range_is_refused(cpus):
    with pytest.raises(ConfigError, match="CPU quota"):
        quota(cpus).__enter__()


def tree(root, unified, inside="/"):
    """A file system with a CPU controller, of files that keep what is written to them."""
    (root / "proc/self").mkdir(parents=True)
    kind, options, line = ("cgroup2", "rw", f"0::{inside}") if unified else ("cgroup", "rw,cpu", f"3:cpu:{inside}")
    (root / "proc/self/mounts").write_text(f"proc /proc proc rw 0 0\nnone /cg {kind} {options} 0 0\n")
    (root / "proc/self/cgroup").write_text(f"9:memory:/elsewhere\n{line}\n")
    group = root / "cg" / inside.lstrip("/")
    group.mkdir(parents=True)
    (root / "cg/cgroup.controllers").write_text("cpuset cpu io\n")
    (root / "cg/cgroup.subtree_control").write_text("io\n")
    return root / "cg", group


@pytest.mark.parametrize(
    ("unified", "cpus", "files"),
    [
        (True, 0.25, {"cpu.max": f"{PERIOD_US // 4} {PERIOD_US}", "../cgroup.subtree_control": "+cpu"}),
        # No quota is below a millisecond.
        (False, 0.05, {"cpu.cfs_period_us": "20000", "cpu.cfs_quota_us": "1000"}),
    ],
)
def test_a_quota_is_written_in_either_version_of_cgroups(tmp_path, unified, cpus, files):
    mount, group = tree(tmp_path, unified, inside="/user.slice")
    with quota(cpus, tmp_path):
        own = mount / f"cutlayer-{os.getpid()}"
        assert {name: (own / name).read_text() for name in files} == files
        assert (own / "cgroup.procs").read_text() == str(os.getpid())
    assert (group / "cgroup.procs").read_text() == str(os.getpid())


def test_the_group_of_a_killed_process_is_removed(tmp_path):
    mount, _ = tree(tmp_path, unified=False)
    (mount / "cutlayer-999999999").mkdir()
    (mount / f"cutlayer-{os.getppid()}").mkdir()
    with quota(0.5, tmp_path):
        left = {path.name for path in mount.glob("cutlayer-*")}
    assert left == {f"cutlayer-{os.getpid()}", f"cutlayer-{os.getppid()}"}


def test_a_system_without_quotas_is_one_sentence_with_advice(tmp_path):
    with pytest.raises(ConfigError, match=r"no cgroups .*systemd-run --scope"):
        quota(0.5, tmp_path).__enter__()
    mount, _ = tree(tmp_path, unified=True)
    (mount / "cgroup.subtree_control").unlink()
    (mount / "cgroup.subtree_control").mkdir()
    with pytest.raises(ConfigError, match=r"may not set a CPU quota .*systemd-run --scope"):
        quota(0.5, tmp_path).__enter__()
    assert not list(mount.glob("cutlayer-*"))


def test_a_real_quota_holds_and_counts_and_goes_away():
    before = cpu_group()
    if before is None:
        pytest.skip("this system has no CPU controller")
    code = """
import os, time
from cutlayer.machine.cgroup import cpu_group
from cutlayer.machine.limits import quota
from cutlayer.machine.throttling import condition, stopped
from cutlayer.errors import ConfigError
limited = quota(0.25)
try:
    limited.__enter__()
except ConfigError as error:
    print("skip", error)
    raise SystemExit
then, start, cpu = condition(), time.monotonic(), time.process_time()
while time.monotonic() < start + 0.5:
    pass
used, did = (time.process_time() - cpu) / (time.monotonic() - start), stopped(then, condition())
inside = cpu_group().path
limited.__exit__(None, None, None)
print(used, did.cpus, did.periods, did.throttled_periods, did.throttled_ns, inside != cpu_group().path, inside.exists())
"""
    printed = python(code)
    if printed[0] == "skip":
        pytest.skip(" ".join(printed[1:]))
    used, cpus, periods, throttled, throttled_ns = map(float, printed[:5])
    assert cpus == 0.25
    # What it does in its last period before it is stopped is not cut short to the microsecond.
    assert used <= 0.25 * 1.15
    assert 0 < throttled <= periods
    assert throttled_ns > 0
    assert printed[5:] == ["True", "False"]
    assert cpu_group() == before
    assert not list(Path(before.mount).glob(f"cutlayer-{os.getpid()}"))
