"""A handler that loses replies."""

from cutlayer.errors import Refused


class Losing:
    """Hands asks on, and says for each third reply that the connection is lost: the ask is applied, its reply gone."""

    ready = True

    def __init__(self, service):
        self.service, self.count = service, 0

    def submit(self, request, arrived_ns, caller, *, lend=False):
        self.count += 1
        if not self.count % 3:
            answer = caller.answer
            caller = caller._replace(answer=lambda reply, sent: answer(Refused("UNAVAILABLE", "lost", 1), sent))
        self.service.submit(request, arrived_ns, caller, lend=lend)
