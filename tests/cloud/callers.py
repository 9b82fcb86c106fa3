"""Callers that keep their answers, and requests for `tests.tiny_split`."""

import threading

import numpy as np

from cutlayer.errors import Refused
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.message import Inference, infer_request, read_infer_reply
from cutlayer.wire.peer import Peer
from tests.tiny_split import SMASHED


class Waiting:
    """A caller that keeps its answer."""

    def __init__(self, client="another"):
        self.peer, self.left, self.replies, self.answered = Peer(client, "a test"), False, [], threading.Event()

    def gone(self):
        return self.left

    def answer(self, reply, sent):
        self.replies.append(reply)
        self.answered.set()
        sent()

    def reply(self):
        """Wait for the answer, of which there must be exactly one."""
        assert self.answered.wait(20)
        (reply,) = self.replies
        if isinstance(reply, Refused):
            raise reply
        return reply

    def inference(self):
        return read_infer_reply(self.reply())


def handle(service, message, arrived_ns=0):
    caller = Waiting()
    service.submit(message, arrived_ns, caller, lend=True)
    return caller.reply()


SECRET = "a secret of some session"


def request(id="", n=1, value=0.0, **parameters):
    """A request; one of a session shows a secret, unless another one or none is given."""
    if parameters.get("session"):
        parameters = {"secret": SECRET} | parameters
    smashed = Raw().encode(np.full((n, *SMASHED.shape), value, np.float32))
    return infer_request(Inference("tiny@relu", "", id, {"smashed": smashed}, parameters))


class HeldTail:
    """A tail that reports when it has begun, and waits for the test before it goes on."""

    def __init__(self, tail):
        self.tail, self.batches, self.begun, self.go_on = tail, [], threading.Event(), threading.Event()

    def __call__(self, smashed):
        self.batches.append(smashed[:, 0, 0, 0].tolist())
        self.begun.set()
        assert self.go_on.wait(20)
        return self.tail(smashed)
