"""A request that was lost with its connection before the server received it is recorded once when it is sent again."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.bench import LANES, SLOW, bench
from tests.wire.ends import WAIT_S
from tests.wire.zmq.test_departures import wait_until


@pytest.mark.parametrize("lane", [lane for lane in LANES if LANES[lane].server == "zmq"])
def test_a_request_of_a_closed_connection_is_the_one_that_is_sent_again(tmp_path, keys, lane):
    """The first request keeps the thread that receives, until the server has seen the connection end."""
    callers, go_on = [], threading.Event()
    with bench(tmp_path, lane, "stream", SLOW, keys=keys) as device, ThreadPoolExecutor(1) as pool:
        server, take = device.server, device.service.submit

        def submit(request, arrived_ns, caller, *, lend=False):
            callers.append(caller)
            assert go_on.wait(WAIT_S)
            take(request, arrived_ns, caller, lend=lend)

        def seen():
            server._departures.look()
            return callers[0].gone()

        def waits():
            with server._shared.lock:
                return server._shared.readable()

        device.service.submit = submit
        checked = pool.submit(device.check_all_answered)
        try:
            wait_until(lambda: callers and waits())
            device.proxy.drop_all()
            wait_until(seen)
        finally:
            go_on.set()
        checked.result(WAIT_S)
