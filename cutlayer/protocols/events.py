"""What happens in a training, as data for its listeners: recorders, attacks, detectors, a progress bar.

A listener is a function that takes an `Event`. It runs in the thread that trains, between two steps, and may keep the
tensors; it must not change them. Where each name occurs:

==============  ======  ==============================================================================================
`name`          party   what it carries
==============  ======  ==============================================================================================
``sent``        client  `index` (positions of the samples), `smashed` as sent, `labels`
``learned``     client  `gradient` at the cut as received
``alarm``       both    `detector`, its `score` and `threshold`, and the sentence `said` at the client
``delivered``   client  `weights` of its layers at the end of its turn
``received``    server  `smashed` as decoded, `labels` where they were sent
``answered``    server  `gradient` at the cut, protected, before its codec, and the `loss`
``gathered``    server  `gradients` of a client's layers by name, where those of all clients are summed in each step
``collected``   server  `weights` that a client delivered, the number of its `samples` and of its `steps` in the round,
                        `busy_s` that it computed, its greatest `rss_bytes`
``averaged``    server  `weights` of the whole model at the end of the round, as far as the server knows them
``measured``    server  `correct` and `total` samples of each class, and the sum of `loss`
``round``       server  nothing; the round is trained, measured and saved
==============  ======  ==============================================================================================
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

NOTHING: Mapping[str, Any] = {}


class Event(NamedTuple):
    """Something that happened.

    Attributes:
        name: What, as in the table of this module.
        client: The client that it concerns; 0 for all.
        round: The round, from 1.
        step: The step of the client within the round, from 0.
        what: Tensors and numbers by name.
    """

    name: str
    client: int
    round: int
    step: int = 0
    what: Mapping[str, Any] = NOTHING


Listener = Callable[[Event], None]


def unheard(event: Event) -> None:
    """Listen to nothing."""
