import itertools
import math

import numpy as np
import pytest

from cutlayer.network.profiles import Network, network_named
from cutlayer.profile.cost_model import Request, Transport, envelope, fit, predict
from cutlayer.records.profile import Line, ModelCheck
from cutlayer.trace import STAGES

REQUEST = Request(dict(zip(STAGES, (9e6, 1e6, 2e6, 5e5, 1e5, 2e5, 3e6, 1e5, 1e4), strict=True)), 100_000, 5_000)


def sent(n_bytes, network_ns):
    return Request({"network": network_ns}, n_bytes, 300)


def test_a_line_is_found_again():
    transport = fit(sent(n, 250_000 + 0.4 * n) for n in (300.0, 5e3, 8e4, 1.2e6))
    assert transport.fixed_ns == pytest.approx(250_000)
    assert transport.per_byte_ns == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("n_bytes", "ns"),
    [([100, 100], [3e5, 5e5]), ([100], [3e5]), ([100, 1e6], [5e5, 3e5]), ([1e5, 1e6], [1e4, 3e6])],
    ids=["one size", "one point", "falling", "through less than nothing"],
)
def test_a_fit_has_no_negative_part(n_bytes, ns):
    transport = fit(map(sent, n_bytes, ns))
    assert transport.fixed_ns >= 0
    assert transport.per_byte_ns >= 0
    assert min(ns) <= transport.ns(float(np.mean(n_bytes))) <= max(ns)


def test_a_network_adds_its_round_trip_and_its_rates():
    transport, network = Transport(3e5, 0.5), network_named("8mbit:4mbit/10ms")
    stages = predict(REQUEST, transport, network)
    # 100 kB at 1 MB/s, the answer at half of that, there and back, and what the transport takes by itself.
    expected = 100e6 + 8e9 * 5_000 / 4e6 + 20e6 + 3e5 + 5e4
    assert stages["network"] == pytest.approx(expected)
    assert stages["end_to_end"] == pytest.approx(REQUEST.machines_ns + expected)
    assert {s: stages[s] for s in STAGES if s != "network"} == {s: REQUEST.stages[s] for s in STAGES if s != "network"}


def test_loopback_adds_nothing_and_loss_adds_at_most_a_round_trip_each_way():
    transport = Transport(3e5, 0.5)
    assert predict(REQUEST, transport, network_named("loopback"))["network"] == pytest.approx(3.5e5)
    without, some, much = (
        predict(REQUEST, transport, Network("n", 1e6, 1e6, 0.1, loss=loss))["network"] for loss in (0, 0.001, 0.5)
    )
    assert without < some < much <= without + 2 * 0.2e9


def test_the_envelope_is_the_lowest_line_everywhere():
    rng = np.random.default_rng(0)
    for _ in range(200):
        figures = [(rng.uniform(1e5, 1e8), 10 ** rng.uniform(2, 7)) for _ in range(rng.integers(1, 9))]
        lines = [Line(str(i), float(fixed_ns), float(n_bytes)) for i, (fixed_ns, n_bytes) in enumerate(figures)]
        spans = envelope(lines)
        assert spans[0].from_bps == 0.0
        assert spans[-1].to_bps is None
        assert all(a.to_bps == b.from_bps for a, b in itertools.pairwise(spans))
        for bps in 10 ** rng.uniform(2, 12, 50):
            name = next(s.choice for s in spans if s.from_bps <= bps <= (s.to_bps or math.inf))
            chosen = next(line for line in lines if line.name == name)
            assert chosen.ns(bps) <= min(line.ns(bps) for line in lines) * (1 + 1e-9)


def test_the_change_is_where_two_lines_cross():
    slow, fast = envelope([Line("big", 1e6, 1_000_000), Line("small", 9e6, 100_000)])
    assert (slow.choice, fast.choice) == ("small", "big")
    assert slow.to_bps == pytest.approx(8 * 900_000 / 8e-3)


def test_errors_are_parts_of_what_was_measured():
    assert ModelCheck("wifi", "c1", "raw", 110.0, 100.0).error == pytest.approx(0.1)
    assert ModelCheck("wifi", "c1", "raw", 50.0, 100.0).error == pytest.approx(-0.5)
