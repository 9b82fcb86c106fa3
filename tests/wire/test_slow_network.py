"""A network whose round trip is a second and more, such as NB-IoT or a satellite with further delays."""

from math import inf

from cutlayer.cloud.service import Service
from cutlayer.network.profiles import Network
from cutlayer.network.shaper import shaped
from cutlayer.split_folder import open_split
from cutlayer.wire.connect import connect, listen
from cutlayer.wire.transport import Timeouts
from tests.tiny_split import ADDRESSES, edge_at, images, write_split


def test_a_grpc_connection_opens_although_each_handshake_takes_more_than_a_second(tmp_path):
    write_split(tmp_path)
    service = Service(open_split(tmp_path).manifest, open_split(tmp_path).tail(threads=1))
    server = listen(ADDRESSES["grpc"], service)
    patience = Timeouts(connect_s=12.0, request_s=20.0)
    with shaped(str(server.address), Network("slow", inf, inf, 0.8)) as (address, _):
        client = connect(address, patience)
        try:
            _, trace = edge_at(tmp_path, client, timeouts=patience).infer(images(1), 0)
        finally:
            client.close()
            server.close()
            service.drain()
    assert trace.network_ns > 1.6e9
