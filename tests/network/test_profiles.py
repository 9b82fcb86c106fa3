import math
from dataclasses import FrozenInstanceError, astuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutlayer.errors import ConfigError
from cutlayer.network.profiles import NETWORKS, Network, network_named, networks_named


def test_the_named_networks_are_those_of_the_manual_and_say_where_they_are_from():
    assert list(NETWORKS) == ["loopback", "lan", "wifi", "lte", "3g", "nbiot", "satellite"]
    for name, network in NETWORKS.items():
        assert network_named(name) is network
        assert network.name == name
        assert network.source != "by hand"
        assert network.shapes == (name != "loopback")


def test_a_network_cannot_change_under_a_measurement():
    with pytest.raises(FrozenInstanceError):
        NETWORKS["wifi"].loss = 0.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20mbit/40ms/5ms/0.1%", (20e6, 20e6, 0.04, 0.005, 0.001)),
        ("64kbit", (64e3, 64e3)),
        ("1.5Gbit/250us", (1.5e9, 1.5e9, 250e-6)),
        ("12mbit:50mbit/2s", (12e6, 50e6, 2.0)),
        ("100bit/0ms/0ms/0%", (100, 100)),
    ],
)
def test_figures_by_hand_and_0_for_those_that_are_left_out(text, expected):
    assert network_named(text) == Network(text, *expected)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("wiffi", "did you mean wifi"),
        ("", "no network named ''"),
        ("-20mbit/40ms", "must be above 0"),
        ("0mbit", "must be above 0"),
        ("20mbit/-40ms", "delay of -0.04 s"),
        ("20mbit/10min", "'10min' is not a delay"),
        ("20mbit/90s", "delay of 90 s, not 0 to 10 s"),
        ("20mbit/10ms/20ms", "jitter of 0.02 s, which must be between 0 and its delay"),
        ("20mbit/10ms/-1ms", "jitter of -0.001 s"),
        ("20mbit/10ms/1ms/-1%", "loss of -0.01"),
        ("20mbit/10ms/1ms/100%", "loss of 1, not 0 % to 50%"),
        ("20mbit/10ms/1ms/0.1", "'0.1' is not a loss"),
        ("20mbit/10ms/1ms/1%/7", "too many parts"),
        ("1mbit:2mbit:3mbit", "too many parts"),
        ("nanmbit/1ms", "'nanmbit' is not a rate"),
        ("20", "give a number with bit or kbit or mbit or gbit"),
        ("40ms/20mbit", "'40ms' is not a rate"),
        ("20mbit//5ms", "'' is not a delay"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(text, says):
    with pytest.raises(ConfigError) as refused:
        network_named(text)
    assert says in str(refused.value)
    assert "write rate/delay/jitter/loss" in str(refused.value)
    assert "\n" not in str(refused.value)


WRONG = [(figure, value) for figure in ("delay_s", "jitter_s", "loss") for value in (math.nan, math.inf, -math.inf)]


@pytest.mark.parametrize(("figure", "value"), [*WRONG, *(("down_bps", rate) for rate in (math.nan, -1.0, 0.0))])
def test_a_figure_out_of_its_range_is_refused(figure, value):
    with pytest.raises(ConfigError):
        Network("named", **{"up_bps": 1e6, "down_bps": 1e6, figure: value})


@given(st.text("0123456789.kmgbits/:%-+ ", max_size=20))
def test_any_text_is_a_network_or_refused(text):
    try:
        network = network_named(text)
    except ConfigError:
        return
    assert network.up_bps > 0


@given(st.integers(1, 10**10), st.integers(1, 10**10), st.integers(0, 10_000), st.integers(0, 500))
def test_a_network_reads_what_it_prints(up, down, delay_ms, loss_permille):
    network = Network("named", up, down, delay_ms / 1e3, delay_ms / 2e3, loss_permille / 1e3)
    _, *figures, _ = astuple(network_named(str(network)))
    assert figures == pytest.approx(astuple(network)[1:-1])


def test_several_with_commas():
    assert [network.name for network in networks_named("wifi, lte,20mbit/40ms")] == ["wifi", "lte", "20mbit/40ms"]
    with pytest.raises(ConfigError, match="twice"):
        networks_named("wifi,lte,wifi")
    with pytest.raises(ConfigError, match="no network named ''"):
        networks_named("wifi,")


def test_the_page_has_the_figures_of_every_named_network():
    page = (Path(__file__).parents[2] / "docs/networks.md").read_text()
    for network in NETWORKS.values():
        up, _, down = str(network).partition("/")[0].partition(":")
        times = [f"{seconds * 1e3:g} ms" for seconds in (network.rtt_s, network.jitter_s)]
        assert f"| {' | '.join([network.name, up, down or up, *times, network.source])} |" in page
