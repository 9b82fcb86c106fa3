from random import Random
from statistics import median

import pytest

from cutlayer.network.link import PACKET_BYTES, Link, late_s, piece_bytes
from cutlayer.network.profiles import NETWORKS


def link(rate_bps, delay_s=0.0, jitter_s=0.0, loss=0.0):
    return Link(rate_bps, delay_s, jitter_s, loss, 2 * delay_s, Random(0))


def deliver(channel, n_bytes, now=0.0):
    """The relay's loop with a clock that stands still except for waiting; the time of the last arrival."""
    arrived = 0.0
    while n_bytes:
        now = max(now, channel.takes_at)
        piece = min(n_bytes, piece_bytes(channel.rate_bps))
        arrived, n_bytes = channel.arrival(now, piece, arrived), n_bytes - piece
    return arrived


@pytest.mark.parametrize("name", [name for name, network in NETWORKS.items() if network.shapes])
@pytest.mark.parametrize("direction", ["up_bps", "down_bps"])
def test_bytes_take_what_the_rate_says_and_the_delay_once(name, direction):
    network = NETWORKS[name]
    rate_bps = getattr(network, direction)
    n_bytes = int(rate_bps)
    assert deliver(link(rate_bps, network.delay_s), n_bytes) == pytest.approx(8 * n_bytes / rate_bps + network.delay_s)


def test_there_is_no_burst_even_for_one_byte():
    assert link(8.0, 3.0).arrival(10.0, 1) == pytest.approx(10 + 1 + 3)


def test_an_idle_link_saves_nothing_up():
    channel = link(800.0)
    assert channel.arrival(0.0, 100) == pytest.approx(1)
    assert channel.arrival(50.0, 100) == pytest.approx(51)


def test_connections_share_the_rate():
    channel = link(800.0)
    assert [channel.arrival(0.0, 100) for _ in range(3)] == pytest.approx([1, 2, 3])


def test_a_link_without_rate_only_delays():
    channel = link(float("inf"), 0.25)
    assert channel.arrival(1.0, 1 << 20) == pytest.approx(1.25)
    assert channel.takes_at < 1.0


def test_pieces_are_small_on_a_slow_link_and_never_less_than_a_packet():
    assert piece_bytes(1e3) == PACKET_BYTES
    assert piece_bytes(1e9) == 64 << 10
    assert PACKET_BYTES < piece_bytes(20e6) < 64 << 10


@pytest.mark.parametrize("rate_bps", [62e3, 20e6, 1e9])
def test_a_full_link_pushes_back(rate_bps):
    """What has been read and has not left is bounded, however much the sender has."""
    channel, now = link(rate_bps, 0.5), 0.0
    for _ in range(2000):
        now = max(now, channel.takes_at)
        left = channel.arrival(now, piece_bytes(channel.rate_bps)) - 0.5 - now
        assert left <= 0.05 + 8 * piece_bytes(channel.rate_bps) / rate_bps + 1e-9


def test_jitter_spreads_evenly_around_the_delay():
    channel = link(1e12, 0.1, 0.02)
    late = [channel.arrival(now, 1) - now for now in range(4000)]
    assert 0.08 <= min(late) < 0.081
    assert 0.119 < max(late) <= 0.12 + 1e-9
    # The mean of as many even draws lies within four of its standard deviations.
    assert sum(late) / 4000 == pytest.approx(0.1, abs=4 * 0.04 / 12**0.5 / 4000**0.5)


@pytest.mark.parametrize("n_bytes", [100, 7_400, 7_700, 16_000, 60_000])
def test_the_end_of_a_message_is_as_late_as_the_latest_piece_makes_it(n_bytes):
    network = NETWORKS["lte"]
    channel = link(network.up_bps, network.delay_s, network.jitter_s)
    on_time_s = 8 * n_bytes / network.up_bps + network.delay_s
    late = [deliver(channel, n_bytes, float(start)) - start - on_time_s for start in range(2000)]
    assert late_s(n_bytes, network.up_bps, network.jitter_s) == pytest.approx(median(late), abs=0.3e-3)


def test_without_jitter_nothing_is_late():
    assert late_s(1e6, 1e6, 0.0) == 0.0


def test_nothing_overtakes_on_a_connection():
    channel, arrived = link(1e9, 0.1, 0.1, 0.3), 0.0
    for now in range(1000):
        later = channel.arrival(now / 1e3, 1000, arrived)
        assert later >= arrived
        arrived = later


@pytest.mark.parametrize(("n_packets", "expected"), [(1, 0.1), (10, 1 - 0.9**10)])
def test_a_lost_packet_is_a_round_trip_late(n_packets, expected):
    channel, n = link(1e12, 0.05, 0.0, 0.1), 4000
    late = [channel.arrival(now, n_packets * PACKET_BYTES) - now - 0.05 for now in range(n)]
    assert sum(delay > 0.05 for delay in late) / n == pytest.approx(expected, abs=4 * (expected / n) ** 0.5)
    # A whole number of round trips, of 0.1 s: the same packet may be lost again.
    assert {round(delay, 3) for delay in late} >= {0.0, 0.1, 0.2}
    assert all(abs(delay * 10 - round(delay * 10)) < 1e-3 for delay in late)
