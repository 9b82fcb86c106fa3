"""From the events of a server to the records of rounds."""

import math

import numpy as np
import pytest

from cutlayer.cloud.training.ledger import Ledger
from cutlayer.protocols.events import Event
from cutlayer.records.training import RoundRecord

HELD = np.array([[10, 0, 0], [0, 5, 5], [4, 4, 4]])


def measured(client: int, round: int, correct: list[int], total: list[int], loss: float = 6.0) -> Event:
    what = {"correct": np.array(correct), "total": np.array(total), "loss": loss}
    return Event("measured", client, round, 0, what)


class Server:
    """A ledger and the totals of a server that it reads."""

    def __init__(self, *, held: np.ndarray | None = HELD, apart: bool = True) -> None:
        self.traffic: dict[tuple[str, str, str], int] = {}
        self.busy_s = 0.0
        self.rounds: list[RoundRecord] = []
        self.ledger = Ledger(held, self.rounds.append, apart=apart)
        self.ledger.begin(lambda: (dict(self.traffic), self.busy_s))


def test_a_round_has_what_was_sent_and_computed_in_it() -> None:
    server = Server()
    server.ledger.tick()
    for number in (1, 2):
        server.traffic = {
            ("up", "step", "smashed"): 100 * number, ("up", "evaluate", "smashed"): 7 * number,
            ("up", "evaluate", "labels"): 1 * number, ("down", "step", "gradient"): 90 * number,
        }  # fmt: skip
        server.busy_s = 1.5 * number
        server.ledger(Event("collected", 2, number, 0, {"busy_s": 0.5, "rss_bytes": 1000}))
        server.ledger(measured(1, number, [8, 1, 1], [10, 4, 4]))
        server.ledger(Event("round", 0, number))
    first, second = server.rounds
    assert first.traffic == second.traffic == {"up smashed": 100, "up evaluation": 8, "down gradient": 90}
    assert first.server_s == second.server_s == 1.5
    assert (first.sent("up"), first.sent("down")) == (100, 90)
    assert second.accuracy is not None
    assert second.accuracy.value == pytest.approx(10 / 18)
    assert second.accuracy.low < 10 / 18 < second.accuracy.high
    assert second.loss == pytest.approx(6 / 18)
    assert [(c.client, c.busy_s, c.rss_bytes) for c in second.clients][1] == (2, 0.5, 1000)


def test_a_client_is_judged_in_the_proportions_of_its_own_classes() -> None:
    server = Server()
    server.ledger(measured(1, 1, [8, 1, 4], [10, 4, 4]))
    server.ledger(Event("round", 0, 1))
    (entry,) = server.rounds
    assert [c.accuracy for c in entry.clients] == pytest.approx([0.8, (0.25 + 1.0) / 2, (0.8 + 0.25 + 1.0) / 3])
    assert entry.worst == pytest.approx(0.625)
    assert entry.mean == pytest.approx((0.8 + 0.625 + 2.05 / 3) / 3)


def test_heads_that_differ_are_judged_one_by_one_and_a_class_without_test_samples_does_not_count() -> None:
    server = Server()
    for client, correct in ((1, [10, 0, 0]), (2, [0, 4, 0]), (3, [5, 2, 0])):
        server.ledger(measured(client, 1, correct, [10, 4, 0]))
    server.ledger(Event("round", 0, 1))
    (entry,) = server.rounds
    assert [c.accuracy for c in entry.clients] == pytest.approx([1.0, 1.0, 0.5])
    assert entry.accuracy is not None
    assert entry.accuracy.value == pytest.approx((10 / 14 + 4 / 14 + 7 / 14) / 3)


def test_a_round_that_was_not_measured_has_no_accuracy() -> None:
    server = Server(held=None, apart=False)
    server.ledger(Event("collected", 1, 1, 0, {"busy_s": 0.5, "rss_bytes": 1000}))
    server.ledger(Event("round", 0, 1))
    (entry,) = server.rounds
    assert entry.accuracy is None
    assert math.isnan(entry.mean)
    assert entry.clients[0].rss_bytes is None
    assert entry.seconds >= 0


def test_what_a_rolled_back_round_sent_counts_once() -> None:
    server = Server()
    server.traffic, server.busy_s = {("up", "step", "smashed"): 100}, 1.0
    server.ledger(Event("round", 0, 1))
    server.traffic = {("up", "step", "smashed"): 160}
    # A new coordinator, at the end of round 1.
    server.traffic, server.busy_s = {("up", "step", "smashed"): 100}, 0.0
    server.ledger.begin(lambda: (dict(server.traffic), server.busy_s))
    server.traffic, server.busy_s = {("up", "step", "smashed"): 200}, 2.0
    server.ledger(Event("round", 0, 2))
    assert [entry.traffic for entry in server.rounds] == [{"up smashed": 100}] * 2
    assert [entry.server_s for entry in server.rounds] == [1.0, 2.0]
