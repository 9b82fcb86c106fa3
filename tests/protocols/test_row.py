"""The rows of the protocols, and combinations that cannot be."""

import itertools

import pytest

from cutlayer.errors import ConfigError
from cutlayer.protocols.row import CHOICES, PROTOCOLS, Protocol, protocol_named


def test_every_row_can_be() -> None:
    for name, row in PROTOCOLS.items():
        row.check()
        assert protocol_named(name) == row
        assert row.says.endswith(".")
    assert [name for name, row in PROTOCOLS.items() if row.u_shaped] == ["u-shaped"]


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("splitfed-v1", {"tail": "one"}, "each need a copy of the tail"),
        ("parallel", {"tail": "copies"}, "needs one tail"),
        ("vanilla", {"order": "parallel", "tail": "copies"}, "at one client at a time"),
        ("splitfed-v2", {"sync": "step"}, "only where all clients step together"),
        ("parallel", {"head": "own", "sync": "step"}, "only heads that are the same"),
        ("u-shaped", {"feedback": "local-loss"}, "cannot be"),
        ("fedavg", {"labels": "sent"}, "without a tail"),
        ("fedavg", {"order": "turns"}, "nothing to take turns at"),
        ("vanilla", {"tail": "two"}, "protocol.tail must be one or copies or none"),
        ("vanilla", {"tial": "one"}, "did you mean tail"),
        ("vannila", {}, "did you mean vanilla"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(name: str, changes: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        protocol_named(name, changes)
    assert str(error.value).count(". ") == 0


def test_what_is_allowed_has_a_meaning() -> None:
    allowed = []
    for values in itertools.product(*CHOICES.values()):
        row = Protocol(**dict(zip(CHOICES, values, strict=True)))
        try:
            row.check()
            allowed.append(row)
        except ConfigError:
            continue
    assert all(row.tail == "one" for row in allowed if row.order == "together")
    assert all(row.order == "parallel" for row in allowed if row.tail == "none")
    assert {name for name, row in PROTOCOLS.items() if all(row.differences(other) for other in allowed)} == set()
