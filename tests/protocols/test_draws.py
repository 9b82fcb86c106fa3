"""What is drawn follows from a counter, whatever was drawn before."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from cutlayer.protocols.draws import Role, computed, drawing, generator, may_draw


def test_the_numbers_of_the_roles_stay() -> None:
    assert [role.value for role in Role] == list(range(len(Role)))
    assert [role.name for role in Role] == [
        "MODEL", "PARTITION", "SAMPLING", "TURNS", "ORDER", "PROTECT", "DROPOUT", "AUGMENT", "LABELS", "NOISE",
        "FEATURES", "DETECT", "UPDATE",
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


def test_only_what_is_known_to_draw_nothing_is_left_without_a_seed() -> None:
    class Own(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand_like(x)

    still = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
    assert not may_draw(still)
    assert not may_draw(fx.symbolic_trace(still))
    for layer in (nn.Dropout(0.5), Own(), nn.RReLU(), nn.Sequential(nn.ReLU(), nn.Dropout(0.1))):
        assert may_draw(layer)
        assert may_draw(nn.Sequential(nn.ReLU(), layer))
    for function in (lambda x: torch.rand_like(x) + x, lambda x: functional.dropout(x, 0.5), lambda x: x.bernoulli()):

        class Traced(nn.Module):
            def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
                super().__init__()
                self.function = function

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.function(x)

        assert may_draw(fx.symbolic_trace(Traced(function)))


def test_what_draws_is_seeded_by_its_counter_and_what_does_not_leaves_the_generator_alone() -> None:
    x, dropout = torch.ones(64), nn.Dropout(0.5)
    masks = [computed(dropout, x, 0, 1, 1, step) for step in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    before = torch.default_generator.get_state()
    computed(nn.ReLU(), x, 0, 1, 1, 0)
    computed(dropout, x, 0, 1, 1, 0)
    assert torch.equal(torch.default_generator.get_state(), before)
