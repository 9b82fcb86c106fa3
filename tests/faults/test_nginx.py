"""A real proxy in front of a server: nginx resets a stream once it has carried more than one body may have."""

import contextlib
import shutil
import socket
import subprocess

import pytest

from cutlayer.cloud.service import Service
from cutlayer.edge.offline.lookout import Lookout
from cutlayer.edge.offline.queue import Queue
from cutlayer.edge.offline.replay import Offline
from cutlayer.errors import StreamReset
from cutlayer.split_folder import open_split
from cutlayer.wire.connect import connect, listen
from tests.tiny_split import edge_at, images

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")

CONF = """
worker_processes 1; daemon off; pid nginx.pid; error_log error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; client_max_body_size 4k; client_body_temp_path body; proxy_temp_path proxy;
    server {{ listen 127.0.0.1:{port} http2; location / {{ grpc_pass grpc://{netloc}; }} }}
}}
"""


@pytest.fixture
def proxied(folder, tmp_path):
    """The address of nginx in front of a server; a stream or a message may have 4 KiB, about eight requests."""
    service = Service(open_split(folder).manifest, open_split(folder).tail(threads=1))
    server = listen("grpc://127.0.0.1:0", service)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "nginx.conf").write_text(CONF.format(port=port, netloc=server.address.netloc))
    command = ["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "error.log"]
    nginx = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    yield f"grpc://127.0.0.1:{port}"
    nginx.terminate()
    nginx.wait(10)
    server.close()
    service.drain()


def test_a_run_through_a_proxy_that_resets_streams_gets_every_answer(folder, proxied):
    with contextlib.closing(connect(proxied)) as client:
        edge = edge_at(folder, client)
        for index in range(40):
            edge.infer(images(1, index), index)
        with pytest.raises(StreamReset, match=r"A proxy in front of .* or the server itself, ended the stream"):
            edge.infer(images(16), 40)
        edge.infer(images(1), 41)


def test_a_queue_behind_a_proxy_loses_nothing_that_the_server_did_not_refuse(folder, tmp_path, proxied):
    with contextlib.closing(connect(proxied)) as client:
        edge = edge_at(folder, client)
        lookout = Lookout(lambda: edge.shake_hands(5), first_pause_s=0.01)
        queue = Queue(tmp_path / "queue", 1 << 20)
        offline = Offline(edge, open_split(folder).manifest, lookout, queue=queue, wait_s=10)
        offline.reachable()
        answers = [offline.infer(images(1, index), index) for index in range(40)]
        offline.flush()
        counts = offline.counts
        assert len(offline.collect()) + sum(answer is not None for answer in answers) == 40
        assert (counts.refused, counts.failed, counts.waiting) == (0, 0, 0)
        offline.close(client)
