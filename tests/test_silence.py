"""Nothing talks to anybody but the other side: no report, no look-up of a name, no file outside its folders.

Each process runs as on a device: with an empty home folder, without the variables of continuous integration, which
silence some libraries, and with a proxy that would hear of any request to the Internet. Where strace is installed, its
system calls are read as well.
"""

import ast
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from cutlayer.doctor import telemetry
from cutlayer.errors import EXTRAS
from tests.doctor.findings import only
from tests.test_layout import OURS, tree
from tests.tiny_split import write_split

WAIT_S = 120

WATCHED = """
import os, sys
log = open(os.environ["CUTLAYER_TEST_EVENTS"], "a", buffering=1)
def listen(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"):
        log.write(f"{event} {args[1:] if event == 'socket.connect' else args!r}\\n")
sys.addaudithook(listen)
"""

RUN = WATCHED + "from cutlayer.cli import main\nmain()\n"

IMPORT = (
    WATCHED
    + """
import importlib, warnings
import cutlayer
warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
)

CALLS = "socket,connect,bind,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2"

NOT_FILES = re.compile(r"/dev/(null|tty|shm/.*)|/proc/self/.*|pipe:.*")


def imported():
    """Every package that the code of the project imports anywhere, or needs for an extra, and that is installed."""
    names = set(EXTRAS)
    for file in OURS:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module)
    tops = {name.partition(".")[0] for name in names} - {*sys.stdlib_module_names, "cutlayer", "benchmarks", "tests"}
    # A torchvision whose operators do not load with this torch is imported as the models do it.
    instead = {"torchvision": "cutlayer.nets._torchvision"}
    return sorted(instead.get(name, name) for name in tops if importlib.util.find_spec(name))


class Proxy:
    """Counts who wants to reach the Internet through it, and lets nobody."""

    def __init__(self):
        self.asked = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                connection.settimeout(1.0)
                with closing(connection), suppress(OSError):
                    self.asked.append(connection.recv(200))

    def close(self):
        self._socket.close()


class Watch:
    """Where processes run that are watched: their home, their temporary files, and what is found out about them."""

    def __init__(self, folder, proxy):
        self.folder, self.home = folder, folder / "home"
        self.home.mkdir()
        (folder / "tmp").mkdir()
        (folder / "trace").mkdir()
        through = f"http://127.0.0.1:{proxy.port}"
        hushed = {"CI", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
        # Torch sets it in the process that has used its compiler: this one, after other tests.
        hushed |= {"TORCHINDUCTOR_CACHE_DIR"}
        self.environment = {name: value for name, value in os.environ.items() if name not in hushed} | {
            "HOME": str(self.home), "TMPDIR": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1",
            "CUTLAYER_TEST_EVENTS": str(folder / "events"), "http_proxy": through, "https_proxy": through,
            "ALL_PROXY": through, "MPLCONFIGDIR": str(folder / "matplotlib"),
        }  # fmt: skip

    def start(self, name, *words):
        strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", self.folder / "trace" / name]
        command = [*(strace if shutil.which("strace") else []), sys.executable, "-c", *words]
        return subprocess.Popen(
            [str(word) for word in command], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=self.folder,
        )  # fmt: skip


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A device and a server over each transport, and one process that imports every package; all have ended."""
    folder = tmp_path_factory.mktemp("silence")
    write_split(folder / "split")
    ports = []
    with closing(Proxy()) as proxy:
        watch = Watch(folder, proxy)
        importing = watch.start("import", IMPORT, *imported())
        for scheme in ("grpc", "zmq"):
            words = ("--listen", f"{scheme}://127.0.0.1:0", "--tap", folder / "tap", "--threads", 1)
            cloud = watch.start(f"cloud-{scheme}", RUN, "cloud", folder / "split", *words)
            ready = cloud.stdout.readline()
            assert ready.startswith("ready "), ready + cloud.communicate()[0]
            address = ready.split()[1]
            ports.append(address.rpartition(":")[2])
            device = watch.start(
                f"edge-{scheme}", RUN, "edge", folder / "split", "--connect", address, "--data", "random", "--count", 3,
                "--record", folder / "record.npz",
            )  # fmt: skip
            printed, _ = device.communicate(timeout=WAIT_S)
            assert device.returncode == 0, printed
            end(cloud)
            printed, _ = cloud.communicate(timeout=WAIT_S)
            assert "answered" in printed
        printed, _ = importing.communicate(timeout=WAIT_S)
        assert importing.returncode == 0, printed
        yield SimpleNamespace(watch=watch, asked=proxy.asked, ports=ports, folder=folder)


def end(process):
    """SIGTERM to Python; strace, where it runs, is the parent of it and ends with it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    traced = shutil.which("strace") and children.exists() and children.read_text().split()
    os.kill(int(traced[0]) if traced else process.pid, 15)


def test_the_home_folder_stays_empty(watched):
    assert [str(path) for path in watched.watch.home.rglob("*")] == []


def test_nobody_asks_for_the_internet(watched):
    assert watched.asked == []


def test_python_looks_up_no_name_and_connects_to_no_other(watched):
    events = (watched.folder / "events").read_text().splitlines()
    assert [event for event in events if not re.search(r"'(127\.0\.0\.1|::1)'", event)] == []


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@needs_strace
@pytest.mark.parametrize("name", ["cloud-grpc", "edge-grpc", "cloud-zmq", "edge-zmq", "import"])
def test_the_system_calls(watched, name):
    """Sockets of the Internet reach the server's port on loopback alone; no other file is written."""
    trace = (watched.folder / "trace" / name).read_text()
    calls = re.findall(r"^\d+ +(\w+)\((.*)$", trace, re.M)
    assert calls
    ports = {"0", *(watched.ports if name != "import" else [])}
    others = []
    for call, arguments in calls:
        if call in ("connect", "bind", "sendto", "sendmsg", "sendmmsg"):
            port = re.search(r"sin6?_port=htons\((\d+)\)", arguments)
            local = re.search(r'inet_addr\("127\.0\.0\.1"\)|"::1"|"::ffff:127\.0\.0\.1"', arguments)
            # The name of the user is looked up there; that of a machine would be asked of a name server next.
            user = name == "import" and "/nscd/" in arguments
            if ("AF_UNIX" in arguments and not user) or (port and not (local and port[1] in ports)):
                others.append(f"{call}({arguments}")
        elif call != "socket" and (written(call, arguments)):
            path = re.search(r'"((?:[^"\\]|\\.)*)"', arguments)[1]
            place = watched.folder / path
            ours = place.is_relative_to(watched.folder) and not place.is_relative_to(watched.watch.home)
            if not (ours or NOT_FILES.fullmatch(path)):
                others.append(f"{call}({arguments}")
    assert others == []


def written(call, arguments):
    return "O_CREAT" in arguments or "O_WRONLY" in arguments or "O_RDWR" in arguments or not call.startswith("open")


def test_a_program_that_loads_onnx_runtime_first_is_warned():
    code = "import sys, types; sys.modules['onnxruntime'] = types.ModuleType('onnxruntime'); import cutlayer"
    environment = {name: value for name, value in os.environ.items() if name != telemetry.OFF}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "imported before cutlayer" in done.stderr


def test_onnx_runtime_comes_through_one_door():
    """Its log quotes names in files, and is turned off there. The exporter, which lies below, opens its own files."""
    direct = set()
    for file in OURS:
        blocks = [node for node in ast.walk(tree(file)) if isinstance(node, ast.If)]
        passed = {
            id(n) for block in blocks if getattr(block.test, "id", "") == "TYPE_CHECKING" for n in ast.walk(block)
        }
        for node in ast.walk(tree(file)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if "onnxruntime" in names and id(node) not in passed:
                direct.add(file)
    assert direct == {"cutlayer/onnx/session.py", "cutlayer/models/export.py"}


def test_the_doctor_knows(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (finding,) = telemetry.check_telemetry()
    assert finding.status == "ok"
    (tmp_path / telemetry._REPORTS).mkdir(parents=True)
    (tmp_path / telemetry._REPORTS / "deviceid").touch()
    assert "with its reports on" in str(list(telemetry.check_telemetry())[1])


def test_the_doctor_finds_a_version_that_does_not_obey(monkeypatch, tmp_path):
    (tmp_path / "onnxruntime.py").write_text(
        "from pathlib import Path\n(Path.home() / '.new').mkdir()\n(Path.home() / '.new/id').touch()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ".new/id" in only(telemetry.check_telemetry())
