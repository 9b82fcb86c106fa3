"""Who is served when: the turns by themselves, with times that the test gives."""

from itertools import count

import pytest

from cutlayer.cloud.cost import Cost
from cutlayer.cloud.job import Job, Template
from cutlayer.cloud.turns import COMPANY_S, SLICE_S, Turns
from cutlayer.wire.codecs.base import Encoded
from cutlayer.wire.message import Kind, Message
from cutlayer.wire.peer import Peer
from cutlayer.wire.transport import Caller


class Server:
    """Turns whose tail takes `fixed_s` for each batch and `each_s` for each sample."""

    def __init__(self, fixed_s=0.0, each_s=0.1, max_batch=16):
        self.turns, self.now_s = Turns(max_batch), 0.0
        self.fixed_s, self.each_s = fixed_s, each_s
        self.jobs = count()

    def put(self, party, n=1, connection=None):
        caller = Caller(Peer(connection or party, "a test", party), lambda: False, lambda *_: None)
        template = Template(Encoded("FP32", (n,), b""), n, (), None, None, None)
        job = Job(Message(Kind.INFER, b""), template, str(next(self.jobs)), (b"",), caller, 0, 0)
        self.turns.meet(job, self.now_s)
        self.turns.put(job)
        return job

    def serve(self):
        """Compute a batch; return how many samples of each connection it had."""
        batch = self.turns.take()
        n = sum(part.stop - part.start for part in batch)
        took_s = self.fixed_s + self.each_s * n if n else 0.01
        for part in batch:
            part.job.smashed = ()
        self.now_s += took_s
        self.turns.charge(batch, took_s, self.now_s)
        return [(part.job.line.key, part.stop - part.start) for part in batch]

    def waited(self, job):
        """Serve until this request is computed; return the seconds."""
        start_s = self.now_s
        while job.taken < job.n_samples:
            self.serve()
        return self.now_s - start_s


def test_one_client_has_whole_batches():
    line = Server()
    for n in (3, 2, 9, 5):
        line.put("only", n)
    assert [line.serve() for _ in range(2)] == [[("only", 3), ("only", 2), ("only", 9)], [("only", 5)]]
    assert not line.turns
    line.put("only", 40)
    # The first turn only decodes it.
    assert [line.serve() for _ in range(4)] == [[("only", n)] for n in (0, 16, 16, 8)]


def test_a_large_request_of_the_only_client_is_undivided_if_it_is_short():
    line = Server(each_s=SLICE_S / 200)
    # Before the first batch it is not known how long one takes.
    line.put("only", 20)
    assert [line.serve() for _ in range(3)] == [[("only", n)] for n in (0, 16, 4)]
    line.put("only", 128)
    line.put("only", 300)
    assert [line.serve() for _ in range(5)] == [[("only", n)] for n in (128, 0, 128, 128, 44)]
    line.put("other", 3)
    line.put("only", 128)
    assert max(n for _ in range(40) for _, n in line.serve()) <= 16


def test_a_request_that_fits_a_batch_is_never_cut():
    line = Server(max_batch=4)
    for n in (3, 2, 1, 4):
        line.put("only", n)
    assert [line.serve() for _ in range(3)] == [[("only", 3)], [("only", 2), ("only", 1)], [("only", 4)]]


@pytest.mark.parametrize("hog", [[300], [16] * 20, [1] * 300], ids=["one large", "many", "many small"])
@pytest.mark.parametrize("fixed_s", [0.0, 0.1, 2.0], ids=["each sample costs", "both cost", "each batch costs"])
def test_beside_a_hog_a_client_waits_at_most_three_times_as_long_as_alone(hog, fixed_s):
    line = Server(fixed_s)
    alone_s = line.waited(line.put("victim"))
    queued = [line.put("hog", n, f"hog {number}") for number, n in enumerate(hog)]
    line.waited(line.put("victim"))
    for _ in range(30):
        # A request that comes when a batch has just begun waits for that one, too.
        begun_s = line.now_s
        if line.serve():
            line.put("hog", 16, "hog again")
        worst_s = line.now_s - begun_s + line.waited(line.put("victim"))
        assert worst_s <= 3 * alone_s + 0.01
    assert queued[0].taken


def test_peers_share_the_time_of_the_tail_however_many_connections_they_have():
    line = Server()
    for number in range(128):
        line.put("many", 4, f"connection {number}")
    for _ in range(128):
        line.put("one", 2)
    used = {"many": 0, "one": 0}
    for _ in range(100):
        for connection, n in line.serve():
            used["one" if connection == "one" else "many"] += n
    assert abs(used["many"] - used["one"]) <= 16


def test_connections_of_one_peer_share_its_time():
    line = Server()
    for _ in range(100):
        line.put("site", 16, "greedy")
    modest = [line.put("site", 1, "modest") for _ in range(20)]
    while modest[-1].taken == 0:
        line.serve()
    assert line.now_s < 2 * 20 * line.each_s + 16 * line.each_s


def test_nobody_saves_up_turns_by_being_away():
    line = Server(max_batch=1)
    line.put("late")
    line.serve()
    for _ in range(50):
        line.put("early")
        line.serve()
    for _ in range(10):
        line.put("early")
        line.put("late")
    served = [line.serve()[0][0] for _ in range(20)]
    assert all(set(served[i : i + 3]) == {"early", "late"} for i in range(17))


def test_a_client_is_company_for_a_while():
    line = Server()
    line.put("other")
    line.serve()
    line.put("first", 16)
    assert line.serve() == [("first", 0)]
    assert line.serve() in ([("first", 1)], [("first", 2)])
    line.now_s += COMPANY_S + 1
    line.put("first", 16)
    while line.serve() != [("first", 16)]:
        assert line.turns


def test_the_rest_of_a_request_is_dropped():
    line = Server(max_batch=4)
    job = line.put("only", 10)
    line.serve(), line.serve()
    line.turns.drop(job)
    assert (bool(line.turns), line.turns.n_samples) == (False, 0)
    assert line.turns.take() == []


def test_the_cost_of_a_batch_is_learned_and_one_that_was_interrupted_changes_little():
    cost = Cost()
    assert cost.of(16) == 0
    for n in (1, 2, 4, 16) * 5:
        cost.observe(n, 0.003 + 0.001 * n)
    assert cost.of(8) == pytest.approx(0.011)
    assert cost.most(0.0131) == 10
    cost.observe(1, 5.0)
    assert cost.of(8) < 0.013


def test_of_one_size_only_the_cost_is_in_proportion_and_another_is_tried():
    cost = Cost()
    for _ in range(5):
        cost.observe(2, 0.2)
    assert cost.of(4) == pytest.approx(0.4)
    assert cost.most(0.2) == 4
