"""A command is ended by SIGTERM and SIGHUP wherever it is; the codes are those that a service manager reads."""

import shutil
import signal
import subprocess
import sys

import psutil
import pytest

BEGIN = "import os, signal, sys, time\nfrom cutlayer import stopping\n"
END = """
try:
    stopping.heed()
    work()
except KeyboardInterrupt as stop:
    print("unwound by", stop, flush=True)
    stopping.leave(stop)
"""
WAITS = "def work():\n    print('ready', flush=True)\n    time.sleep(60)\n"

# A library that computes and does not return to Python, without the global lock: here a mutex that is locked twice.
COMPUTES = """
import ctypes, threading
stopping.GRACE_S, stopping.LAST_WORDS_S = 0.05, 30.0
def work():
    mutex, lock = ctypes.create_string_buffer(64), ctypes.CDLL(None).pthread_mutex_lock
    with stopping.last_words(lambda: print("what was measured")):
        lock(mutex)
        threading.Timer(0.2, lambda: print("ready", flush=True)).start()
        lock(mutex)
"""

# Each signal comes while the main thread begins or ends a wait.
OFTEN = """
def work():
    import threading
    print("ready", flush=True)
    for _ in range(200):
        stop = stopping.StopSignal()
        threading.Timer(0.001, os.kill, (os.getpid(), signal.SIGTERM)).start()
        while not stop.wait(0):
            pass
        assert stop.number == signal.SIGTERM
    print("told to stop", flush=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""

# The system gives a signal to any thread that does not block it, and Python handles it in the main one.
ELSEWHERE = """
def work():
    import threading
    stop = stopping.StopSignal()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Timer(0.2, lambda: print("ready", flush=True)).start()
    stop.wait()
    print("told to stop", flush=True)
"""

# What is to be closed waits for something that never comes.
HANGS = """
stopping.UNWIND_S, stopping.LAST_WORDS_S = 0.1, 30.0
def work():
    with stopping.last_words(lambda: print("what was measured")):
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            time.sleep(60)
"""

# Python cannot pass on what is raised in a finalizer.
LOSES = """
class Lost:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(60)
def work():
    Lost()
    time.sleep(60)
"""

# Whoever stops what was forked means that, and not its parent.
FORKS = """
def work():
    child = os.fork()
    if not child:
        time.sleep(60)
    time.sleep(0.1)
    os.kill(child, signal.SIGTERM)
    print("the child ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    time.sleep(0.1)
    print("ready", flush=True)
    time.sleep(60)
"""


def run(work, number, *, within=(), how="", twice=False):
    """Start a process, send it the signal when it is ready, and return its exit code and output."""
    command = [*within, sys.executable, "-c", BEGIN + how + work + END]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        lines = []
        while "ready\n" not in lines:
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        if within:
            # The process itself, and not the one that waits for it.
            (child,) = psutil.Process(process.pid).children()
            child.send_signal(number)
        else:
            process.send_signal(number)
            if twice:
                process.send_signal(number)
        out, err = process.communicate(timeout=30)
    return process.returncode, "".join(lines) + out, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_process_unwinds_and_gives_the_code_of_the_signal(number, code):
    assert run(WAITS, number, twice=True) == (code, f"ready\nunwound by {signal.Signals(number).name}\n", "")


def test_what_nohup_ignores_stays_ignored():
    how = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    work = WAITS.replace("60)", "0.2)\n    print('done')")
    assert run(work, signal.SIGHUP, how=how) == (0, "ready\ndone\n", "")


def test_a_computation_that_does_not_return_to_python_is_ended_with_its_last_words():
    code, out, err = run(COMPUTES, signal.SIGTERM)
    assert (code, out) == (143, "ready\nwhat was measured\n")
    assert err == "cutlayer: stopped in the middle of a computation.\n"


def test_a_main_thread_that_waits_is_woken_by_a_signal_that_another_thread_gets():
    assert run(ELSEWHERE, signal.SIGTERM) == (0, "ready\ntold to stop\n", "")


def test_a_signal_that_comes_at_any_moment_of_a_wait_ends_it():
    assert run(OFTEN, signal.SIGURG) == (0, "ready\ntold to stop\n", "")


def test_a_process_that_does_not_unwind_is_ended_with_its_last_words():
    code, out, err = run(HANGS, signal.SIGTERM)
    assert (code, out) == (143, "ready\nwhat was measured\n")
    assert err == "cutlayer: stopped, but did not end within 0.1 s.\n"


def test_a_stop_that_python_cannot_pass_on_is_raised_again():
    assert run(LOSES, signal.SIGTERM) == (143, "ready\nunwound by SIGTERM\n", "")


def test_a_ctrl_c_that_python_cannot_pass_on_is_raised_again():
    # Ctrl-C is ignored in what a shell starts in the background, which is how the tests may run.
    how = "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    assert run(LOSES, signal.SIGINT, how=how) == (130, "ready\nunwound by \n", "")


def test_the_end_of_a_forked_process_is_not_that_of_its_parent():
    code, out, err = run(FORKS, signal.SIGTERM)
    assert (code, out, err) == (143, "the child ended with -15\nready\nunwound by SIGTERM\n", "")


def test_as_pid_1_of_a_container():
    within = ("unshare", "--pid", "--fork")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*within, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine lets nobody make a PID namespace")
    assert run(WAITS, signal.SIGTERM, within=within) == (143, "ready\nunwound by SIGTERM\n", "")
