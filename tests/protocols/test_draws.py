"""What is drawn follows from a counter, whatever was drawn before."""

import threading

import numpy as np
import pytest
import torch

from cutlayer.protocols.draws import Role, drawing, generator


def test_the_numbers_of_the_roles_stay() -> None:
    assert [role.value for role in Role] == list(range(11))
    assert [role.name for role in Role] == [
        "MODEL", "PARTITION", "SAMPLING", "TURNS", "ORDER", "PROTECT", "DROPOUT", "AUGMENT", "LABELS", "NOISE",
        "FEATURES",
    ]  # fmt: skip
    assert generator(7, Role.ORDER, 3, 2, 1).integers(1 << 32) == 3413141224


def test_every_part_of_a_counter_matters() -> None:
    counters = [(0, Role.ORDER, 0, 0, 0), (1, Role.ORDER, 0, 0, 0), (0, Role.DROPOUT, 0, 0, 0)]
    counters += [(0, Role.ORDER, 1, 0, 0), (0, Role.ORDER, 0, 1, 0), (0, Role.ORDER, 0, 0, 1)]
    assert len({generator(*counter).integers(1 << 62).item() for counter in counters}) == len(counters)
    with pytest.raises(ValueError, match="from 0 to"):
        generator(0, Role.ORDER, step=1 << 32)


def test_torch_draws_by_the_counter_and_goes_on_as_before() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with drawing(0, Role.DROPOUT, 2, 1, 4):
        first = torch.rand(8)
    assert torch.equal(torch.rand(3), expected)
    with drawing(0, Role.DROPOUT, 2, 1, 4):
        assert torch.equal(torch.rand(8), first)
    with drawing(0, Role.DROPOUT, 2, 1, 5):
        assert not torch.equal(torch.rand(8), first)


def test_threads_do_not_disturb_each_other() -> None:
    def draw(client: int) -> bytes:
        with drawing(0, Role.DROPOUT, client):
            return b"".join(torch.rand(100).numpy().tobytes() for _ in range(50))

    alone = [draw(client) for client in range(1, 5)]
    together: dict[int, bytes] = {}
    threads = [threading.Thread(target=lambda k=k: together.update({k: draw(k)})) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[client] for client in range(1, 5)] == alone
    assert len(set(alone)) == 4
    assert np.frombuffer(alone[0], np.float32).std() > 0.2
