import numpy as np

from cutlayer.privacy.releases import Releases


class Counted:
    """The first two pixels of each input; where noisy, plus a number that differs each time."""

    def __init__(self, noisy):
        self.noisy, self.computed = noisy, 0

    def __call__(self, inputs):
        numbers = np.arange(self.computed + 1, self.computed + 1 + len(inputs), dtype=np.float32)
        self.computed += len(inputs)
        return inputs.reshape(len(inputs), -1)[:, :2] + self.noisy * numbers[:, None]


def inputs(n):
    return np.random.default_rng(0).random((n, 1, 2, 2), np.float32)


def test_readers_share_the_releases_that_both_ask_for_and_no_others():
    noisy, batch = Counted(True), inputs(6)
    releases = Releases(noisy, repeats=False)
    first, second = releases.reader(), releases.reader()
    once = first(batch)
    assert np.array_equal(second(batch[[4, 1]]), once[[4, 1]])
    assert noisy.computed == 6
    again = second(batch)
    assert np.array_equal(again[[0, 2, 3, 5]], once[[0, 2, 3, 5]])
    assert not np.isclose(again[[1, 4]], once[[1, 4]]).any()
    assert noisy.computed == 8
    assert np.array_equal(first(batch)[[1, 4]], again[[1, 4]])


def test_an_input_that_is_asked_for_twice_at_once_is_released_twice():
    releases, batch = Releases(Counted(True), repeats=False), np.repeat(inputs(1), 3, axis=0)
    answers = releases.reader()(batch)
    assert len(np.unique(answers, axis=0)) == 3
    assert np.array_equal(releases.reader()(batch), answers)


def test_what_repeats_itself_is_computed_once():
    head, batch = Counted(False), inputs(6)
    reader = Releases(head, repeats=True).reader()
    assert np.array_equal(reader(batch), Counted(False)(batch))
    assert np.array_equal(reader(batch[[3, 3, 0]]), Counted(False)(batch[[3, 3, 0]]))
    assert head.computed == 6


def test_memory_is_bounded_and_the_least_recently_used_answer_goes_first():
    head, batch = Counted(False), inputs(6)
    reader = Releases(head, repeats=True, most_bytes=3 * 8).reader()
    assert np.array_equal(reader(batch), Counted(False)(batch))
    assert head.computed == 6
    reader(batch[3:])
    assert head.computed == 6, "the last three are still there"
    reader(batch[:1])
    assert head.computed == 7, "the first ones are not"


def test_an_answer_can_be_changed_by_its_reader():
    reader, batch = Releases(Counted(False), repeats=True).reader(), inputs(2)
    reader(batch)[:] = 7
    assert np.array_equal(reader(batch), Counted(False)(batch))
