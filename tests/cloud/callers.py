"""Callers that keep what they are told, and requests for `tests.tiny_split`."""

import threading

import numpy as np

from cutlayer.errors import Refused
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.message import Inference, infer_request, read_infer_reply
from tests.tiny_split import SMASHED


class Waiting:
    """A caller that keeps its answer."""

    def __init__(self, client="somebody"):
        self.client, self.left, self.replies, self.told = client, False, [], threading.Event()

    def gone(self):
        return self.left

    def answer(self, reply, sent):
        self.replies.append(reply)
        self.told.set()
        sent()

    def reply(self):
        """The answer, once there is one; there is never another."""
        assert self.told.wait(20)
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


def request(id="", n=1, value=0.0, **parameters):
    smashed = Raw().encode(np.full((n, *SMASHED.shape), value, np.float32))
    return infer_request(Inference("tiny@relu", "", id, {"smashed": smashed}, parameters))


class Held:
    """A tail that says when it has begun, and goes on when it is let."""

    def __init__(self, tail):
        self.tail, self.batches, self.begun, self.go_on = tail, [], threading.Event(), threading.Event()

    def __call__(self, smashed):
        self.batches.append(smashed[:, 0, 0, 0].tolist())
        self.begun.set()
        assert self.go_on.wait(20)
        return self.tail(smashed)
