import threading
import time

import grpc
import numpy as np
import pytest

from cutlayer.cloud.reader import MAX_TEMPLATES
from cutlayer.cloud.service import Service
from cutlayer.errors import Refused, SplitError
from cutlayer.onnx.session import open_half
from cutlayer.spec import TensorSpec
from cutlayer.split_folder import open_split
from cutlayer.wire import open_inference_pb2 as pb
from cutlayer.wire.codecs.packed import decode
from cutlayer.wire.codecs.raw import Raw
from cutlayer.wire.connect import listen
from cutlayer.wire.grpc.server_stream import Stream
from cutlayer.wire.message import Inference, Kind, Message, infer_request, read_infer_reply
from cutlayer.wire.template import completed
from tests.cloud.callers import HeldTail, handle, request
from tests.tiny_split import SMASHED, edge_at, images, serving, write_split


@pytest.fixture
def manifest(folder):
    return write_split(folder)


@pytest.fixture
def service(folder, manifest):
    return Service(manifest, open_split(folder).tail(threads=1))


def ask(service, manifest, smashed=None, **changed):
    smashed = np.zeros((1, *SMASHED.shape), np.float32) if smashed is None else smashed
    fields = {
        "model": "tiny@relu",
        "version": manifest.version,
        "id": "1",
        "tensors": {"smashed": Raw().encode(smashed)},
    }
    return read_infer_reply(handle(service, infer_request(Inference(**{**fields, **changed})), time.monotonic_ns()))


def test_the_answer_carries_id_version_and_durations(service, manifest):
    reply = ask(service, manifest, id="some id")
    assert (reply.id, reply.version, list(reply.tensors)) == ("some id", manifest.version, ["logits"])
    assert set(reply.parameters) == {"queue_ns", "decode_ns", "tail_ns", "reply_ns"}


def test_requests_of_a_session_differ_in_id_and_bytes_and_are_checked_all_the_same(service, manifest):
    template = infer_request(
        Inference(
            "tiny@relu", manifest.version, "", {"smashed": Raw().encode(np.zeros((1, *SMASHED.shape), np.float32))}
        )
    )
    for number in range(3):
        smashed = np.full((1, *SMASHED.shape), number, np.float32)
        reply = read_infer_reply(handle(service, completed(template, f"s-{number}", smashed.tobytes())))
        assert reply.id == f"s-{number}"
        np.testing.assert_array_equal(decode(reply.tensors["logits"]), service._tail(smashed))
        for wrong in ((), (b"too short",), (smashed.tobytes(), b"another")):
            with pytest.raises(Refused) as caught:
                handle(service, completed(template, f"s-{number}", *wrong))
            assert caught.value.code == "INVALID_ARGUMENT"


def test_the_kept_templates_do_not_grow_without_bound(service):
    for number in range(MAX_TEMPLATES + 10):
        handle(service, completed(request(session=str(number)), "1", bytes(4 * SMASHED.size)))
        assert len(service._reader._templates) <= MAX_TEMPLATES


def test_durations_are_those_of_the_clock(folder, manifest):
    ticks = iter([110, 113, 123, 140, 180, 260])
    service = Service(manifest, open_split(folder).tail(threads=1), clock=lambda: next(ticks))
    reply = read_infer_reply(handle(service, request(), 100))
    # Waiting: until it was read (10), and then for its turn (10). Reading: header (3) and tensor (17).
    assert reply.parameters == {"queue_ns": 20, "decode_ns": 20, "tail_ns": 40, "reply_ns": 80}


@pytest.mark.parametrize("changed", [{"version": "0" * 16}, {"model": "tiny@conv"}, {"model": ""}])
def test_another_split_is_never_answered(service, manifest, changed):
    with pytest.raises(Refused, match="This server holds tiny@relu") as caught:
        ask(service, manifest, **changed)
    assert caught.value.code == "NOT_FOUND"


@pytest.mark.parametrize(
    "smashed",
    [
        np.zeros(SMASHED.shape, np.float32),
        np.zeros((1, 2, 6, 7), np.float32),
        np.zeros((1, 2, 6, 6)),
        np.zeros((0, 2, 6, 6), np.float32),
    ],
)
def test_tensors_other_than_smashed_data_are_refused(service, manifest, smashed):
    with pytest.raises(Refused, match="Send float32 of shape Nx2x6x6"):
        ask(service, manifest, smashed)


def test_other_tensors_protocols_and_kinds_are_refused(service, manifest):
    with pytest.raises(Refused, match="one tensor"):
        ask(service, manifest, tensors={})
    with pytest.raises(Refused, match="version 1 of the protocol"):
        ask(service, manifest, parameters={"protocol": 2})
    with pytest.raises(Refused, match="ERROR"):
        handle(service, Message(Kind.ERROR, b""))


def test_the_wait_for_another_request_is_queue(folder, manifest, monkeypatch):
    held, arrived, traces, held_s = HeldTail(open_split(folder).tail(threads=1)), threading.Semaphore(0), {}, 0.3
    arrive = Stream.arrived

    def counted(stream, data):
        done = arrive(stream, data)
        arrived.release()
        return done

    monkeypatch.setattr(Stream, "arrived", counted)
    with serving(folder, "grpc", held) as client:
        edge = edge_at(folder, client)

        def infer(index):
            traces[index] = edge.infer(images(1), index)[1]

        first, second = (threading.Thread(target=infer, args=(index,)) for index in range(2))
        first.start()
        # Two that arrive together would be computed together.
        assert arrived.acquire(timeout=30)
        assert held.begun.wait(30)
        second.start()
        assert arrived.acquire(timeout=30)
        time.sleep(held_s)
        held.go_on.set()
        first.join()
        second.join()
    # What the second one waited for is neither the network nor its own computation.
    assert traces[1].queue_ns > held_s * 1e9
    assert traces[1].network_ns < traces[1].queue_ns
    assert traces[0].tail_ns > held_s * 1e9 > traces[0].queue_ns


def test_unknown_fields_are_skipped_and_a_later_version_is_refused(service):
    plain = handle(service, request("a", value=2.0)).tensors
    later = request("a", value=2.0, novelty="yes")
    # A field of the number 99, which the protocol does not have.
    later = Message(later.kind, later.header + b"\x9a\x06\x02ab", later.tensors)
    assert handle(service, later).tensors == plain
    with pytest.raises(Refused, match="speaks version 1") as caught:
        handle(service, request("a", value=2.0, protocol=2))
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_server_that_drains_is_alive_and_not_ready(folder, manifest):
    service = Service(manifest, open_split(folder).tail(threads=1))
    server = listen("grpc://127.0.0.1:0", service)
    with grpc.insecure_channel(server.address.netloc) as channel:

        def ask(method, request):
            path = f"/inference.GRPCInferenceService/{method}"
            return channel.unary_unary(path)(request.SerializeToString(), timeout=5)

        def ready():
            model = pb.ModelReadyRequest(name="tiny@relu")
            return (
                pb.ServerReadyResponse.FromString(ask("ServerReady", pb.ServerReadyRequest())).ready,
                pb.ModelReadyResponse.FromString(ask("ModelReady", model)).ready,
            )

        assert ready() == (True, True)
        service.drain()
        assert ready() == (False, False)
        assert pb.ServerLiveResponse.FromString(ask("ServerLive", pb.ServerLiveRequest())).live
    server.close()


def test_a_client_of_the_open_inference_protocol_needs_nothing_of_ours(folder, manifest):
    """What tritonclient sends: protobuf objects, no parameters of ours, no version."""
    with serving(folder, "grpc") as client, grpc.insecure_channel(client.address.netloc) as channel:

        def call(method, request, response):
            path = f"/inference.GRPCInferenceService/{method}"
            return channel.unary_unary(path, type(request).SerializeToString, response.FromString)(request, timeout=5)

        assert call("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse).live
        assert call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse).ready
        assert call("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse).name == "cutlayer"
        for name, ready in (("tiny@relu", True), ("other", False)):
            assert call("ModelReady", pb.ModelReadyRequest(name=name), pb.ModelReadyResponse).ready is ready
        metadata = call("ModelMetadata", pb.ModelMetadataRequest(name="tiny@relu"), pb.ModelMetadataResponse)
        assert (metadata.versions, metadata.inputs[0].shape) == ([manifest.version], [-1, 2, 6, 6])

        smashed = np.ones((2, *SMASHED.shape), np.float32)
        request = pb.ModelInferRequest(model_name=metadata.name, raw_input_contents=[smashed.tobytes()])
        request.inputs.add(name="smashed", datatype="FP32", shape=smashed.shape)
        reply = call("ModelInfer", request, pb.ModelInferResponse)
        logits = np.frombuffer(reply.raw_output_contents[0], np.float32).reshape(reply.outputs[0].shape)
        np.testing.assert_array_equal(logits, open_split(folder).tail(threads=1)(smashed))

        del request.raw_input_contents[:]
        request.inputs[0].contents.fp32_contents.extend(smashed.ravel())
        assert call("ModelInfer", request, pb.ModelInferResponse).raw_output_contents == reply.raw_output_contents

        request.inputs[0].contents.ClearField("fp32_contents")
        with pytest.raises(grpc.RpcError, match="does not have 0 bytes"):
            call("ModelInfer", request, pb.ModelInferResponse)


@pytest.mark.parametrize("content", [b"", b"no model", None, "head.onnx"])
def test_a_file_that_is_no_tail_is_refused(folder, content):
    path = folder / "broken.onnx"
    whole = (folder / "tail.onnx").read_bytes()
    path.write_bytes(
        (folder / content).read_bytes() if isinstance(content, str) else whole[:50] if content is None else content
    )
    with pytest.raises(SplitError, match=r"broken\.onnx"):
        open_half(path, 1, {"smashed": TensorSpec((4,))}, {"logits": TensorSpec((4,))})
