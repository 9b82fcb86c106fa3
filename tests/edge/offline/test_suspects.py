import numpy as np
import pytest

from cutlayer.edge.offline.suspects import IN_A_ROW, LOSSES, TRIES, Suspects
from cutlayer.errors import ConnectionLost, Refused

ERROR = Refused("INTERNAL", "It failed.")


def served(fails, n=60, n_visits=100_000):
    """Send n requests in order to a server that fails some; return those set aside, and those answered in order."""
    suspects, waiting, aside, answered = Suspects(), list(range(n)), {}, []
    for _ in range(n_visits):
        if not waiting:
            break
        place = next((place for place in waiting if place not in suspects.passed), None)
        if place is None:
            suspects.again()
        elif fails(place):
            suspects.failed(place, ERROR)
        else:
            waiting.remove(place)
            answered.append(place)
            for over in suspects.answered(place):
                waiting.remove(over)
                aside[over] = True
    return list(aside), answered, waiting


@pytest.mark.parametrize("bad", [{0}, {7}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {0, 20, 40}])
def test_a_request_that_alone_fails_is_set_aside_and_the_others_keep_their_order(bad):
    aside, answered, waiting = served(bad.__contains__)
    assert set(aside) == bad
    assert answered == [place for place in range(60) if place not in bad]
    assert not waiting


def test_the_last_request_waits_for_others_that_tell_whose_fault_it_is():
    aside, answered, waiting = served((59).__eq__, n_visits=1000)
    assert (aside, waiting) == ([], [59])
    assert answered == list(range(59))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_server_that_fails_at_random_sets_hardly_any_aside(share):
    n_aside = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        aside, answered, waiting = served(lambda place, rng=rng: rng.random() < share)
        assert not waiting
        assert sorted(answered + aside) == list(range(60))
        n_aside += len(aside)
    # Without the rule that an answered suspect clears the others, 0.9 ** 5 = 59 % would be.
    assert n_aside <= 0.01 * 20 * 60


def test_a_server_that_fails_all_for_a_while_is_asked_less_often_and_loses_nothing():
    suspects = Suspects()
    assert [suspects.failed(place, ERROR) for place in range(IN_A_ROW + 2)] == [False] * (IN_A_ROW - 1) + [True] * 3
    assert not suspects.answered(99)
    assert not suspects.failed(0, ERROR)
    # The first that is answered after it had failed clears all the others.
    for _ in range(TRIES):
        suspects.failed(1, ERROR)
        assert not suspects.answered(2)
        suspects.failed(2, ERROR)


def test_a_request_that_ends_the_server_each_time_counts_as_failed():
    suspects, lost = Suspects(), ConnectionLost("gone")
    for tried in range(1, TRIES + 1):
        for _ in range(LOSSES):
            assert 0 not in suspects.passed
            suspects.lost(0, lost)
        assert suspects.passed == {0}
        assert list(suspects.answered(tried)) == ([0] if tried == TRIES else [])


def test_a_server_that_is_killed_now_and_then_keeps_the_order():
    suspects = Suspects()
    for place in range(100):
        suspects.lost(place, ConnectionLost("gone"))
        suspects.answered(place)
        assert not suspects.passed
    assert not len(suspects)


def test_a_request_that_a_full_queue_dropped_is_forgotten():
    suspects = Suspects()
    suspects.failed(0, ERROR)
    suspects.failed(1, ERROR)
    suspects.keep((1).__eq__)
    assert (suspects.passed, len(suspects)) == ({1}, 1)
