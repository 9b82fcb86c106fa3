import numpy as np
import pytest

from cutlayer.errors import DeadlineExceeded, DecodeError, SplitError, Unreachable
from cutlayer.split_folder import open_split
from cutlayer.trace import STAGES
from cutlayer.wire.codecs.fp16 import Float16
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.connect import connect
from cutlayer.wire.handshake import Metadata, metadata_reply
from cutlayer.wire.message import Inference, Kind, infer_reply, read_infer_request
from cutlayer.wire.transport import Timeouts
from tests.tiny_split import ADDRESSES, CLASSES, edge_at, images, serving, slowed, write_split


def answers(folder, transport):
    with serving(folder, transport) as client:
        edge = edge_at(folder, client)
        return [edge.infer(images(n, seed=n), n)[0] for n in (1, 3)]


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_both_transports_answer_bit_for_bit_what_a_function_call_answers(folder, transport):
    for real, reference in zip(answers(folder, transport), answers(folder, "inprocess"), strict=True):
        np.testing.assert_array_equal(real, reference)


@pytest.mark.parametrize("transport", ADDRESSES)
def test_stages_sum_to_the_end_to_end_time_and_none_is_negative(folder, transport):
    with serving(folder, transport) as client:
        _, trace = edge_at(folder, client).infer(images(2), 7)
    stages = {stage: getattr(trace, f"{stage}_ns") for stage in STAGES}
    assert sum(stages.values()) == trace.end_to_end_ns
    assert min(stages.values()) >= 0, stages
    assert (trace.request_index, trace.n_samples) == (7, 2)
    assert trace.tensor_bytes == 2 * 2 * 6 * 6 * 4 < trace.message_bytes
    assert 2 * CLASSES * 4 < trace.answer_bytes < 2 * CLASSES * 4 + 300


@pytest.mark.parametrize("transport", ADDRESSES)
def test_a_slow_tail_shows_in_the_tail_and_nowhere_else(folder, transport):
    tail = slowed(open_split(folder).tail(threads=1), 0.05)
    with serving(folder, transport, tail) as client:
        _, trace = edge_at(folder, client).infer(images(1), 0)
    assert trace.tail_ns > 50e6
    assert trace.end_to_end_ns - trace.tail_ns < 50e6


@pytest.mark.parametrize("transport", ["grpc", "zmq"])
def test_after_a_missed_deadline_the_next_request_works(folder, transport):
    late = [0.4]
    tail = open_split(folder).tail(threads=1)

    def slow_once(smashed):
        return slowed(tail, late.pop() if late else 0)(smashed)

    impatient = Timeouts(request_s=0.1)
    with serving(folder, transport, slow_once, timeouts=impatient) as client:
        # Connected first, which takes longer than that on a busy machine.
        edge_at(folder, client)
        edge = edge_at(folder, client, timeouts=impatient)
        with pytest.raises(DeadlineExceeded, match=r"0\.1 s"):
            edge.infer(images(1), 0)
        edge = edge_at(folder, client, timeouts=Timeouts(request_s=10))
        logits, _ = edge.infer(images(1, seed=1), 1)
    np.testing.assert_array_equal(logits, answers(folder, "inprocess")[0])


@pytest.mark.parametrize("transport", ADDRESSES)
def test_a_server_of_another_split_is_refused_at_the_handshake(folder, tmp_path, transport):
    write_split(tmp_path / "other", seed=1)
    with serving(tmp_path / "other", transport) as client, pytest.raises(SplitError, match="different splits"):
        edge_at(folder, client)


@pytest.mark.parametrize("transport", ADDRESSES)
def test_no_server_at_the_address(folder, transport):
    with serving(folder, transport) as client:
        address = str(client.address)
    stranger = connect(address, Timeouts(connect_s=0.3))
    with pytest.raises(Unreachable):
        edge_at(folder, stranger)
    stranger.close()


@pytest.mark.parametrize("transport", ADDRESSES)
def test_the_codec_travels_with_the_tensor(folder, transport):
    with serving(folder, transport) as client:
        exact, whole = edge_at(folder, client).infer(images(1), 0)
        rounded, half = edge_at(folder, client, codec=Float16()).infer(images(1), 1)
    assert half.tensor_bytes * 2 == whole.tensor_bytes
    np.testing.assert_allclose(rounded, exact, atol=0.05)
    assert not np.array_equal(rounded, exact)


class Scripted:
    """A transport that shakes hands and answers each inference with the given values."""

    def __init__(self, manifest, answer):
        self.manifest, self.answer = manifest, answer

    def request(self, message, timeout_s):
        if message.kind is Kind.METADATA:
            return metadata_reply(Metadata("tiny@relu", (self.manifest.version,)))
        request = read_infer_request(message)
        logits = Raw().encode(np.arange(CLASSES, dtype=np.float32)[None])
        return infer_reply(
            Inference(**{**request._asdict(), "tensors": {"logits": logits}, "parameters": {}, **self.answer})
        )


def answered(folder, **answer):
    return edge_at(folder, Scripted(open_split(folder).manifest, answer)).infer(images(1), 0)


def test_another_server_of_the_protocol_may_answer(folder):
    logits, trace = answered(folder, parameters={"triton": "yes"})
    assert logits.tolist() == [[0, 1, 2]]
    assert trace.tail_ns == trace.queue_ns == 0


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "another"},
        {"tensors": {}},
        {"tensors": {"smashed": Raw().encode(np.zeros((1, CLASSES), np.float32))}},
        {"tensors": {"logits": Raw().encode(np.zeros((1, CLASSES + 1), np.float32))}},
        {"parameters": {"tail_ns": "soon"}},
        {"parameters": {"tail_ns": True}},
    ],
)
def test_a_message_other_than_the_answer_is_an_error(folder, answer):
    with pytest.raises(DecodeError):
        answered(folder, **answer)
