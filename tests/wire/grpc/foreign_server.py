"""A minimal server of the Open Inference Protocol that shares nothing with ours: its messages are defined here.

    python tests/wire/grpc/foreign_server.py tail.onnx MODEL INPUT OUTPUT raw|typed

It prints its port, ends with its standard input, and refuses parameters, versions and other names of tensors.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import onnxruntime
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPES = {"string": 9, "int64": 3, "bytes": 12, "float": 2}

# Field names and numbers as the protocol publishes them, as far as they are needed here.
MESSAGES = {
    "Tensor": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "*int64")},
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelMetadataResponse": {
        "name": (1, "string"), "versions": (2, "*string"), "inputs": (4, "*.Tensor"), "outputs": (5, "*.Tensor"),
    },
    "Contents": {"fp32_contents": (6, "*float")},
    "Input": {
        "name": (1, "string"), "datatype": (2, "string"), "shape": (3, "*int64"), "parameters": (4, "*bytes"),
        "contents": (5, ".Contents"),
    },
    "ModelInferRequest": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"), "parameters": (4, "*bytes"),
        "inputs": (5, "*.Input"), "raw_input_contents": (7, "*bytes"),
    },
    "ModelInferResponse": {
        "model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string"), "outputs": (5, "*.Input"),
        "raw_output_contents": (6, "*bytes"),
    },
}  # fmt: skip


def classes():
    file = descriptor_pb2.FileDescriptorProto(name="foreign.proto", package="foreign", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label, kind = (3, kind[1:]) if kind[0] == "*" else (1, kind)
            entry = message.field.add(name=field, number=number, label=label)
            if kind[0] == ".":
                entry.type, entry.type_name = 11, f".foreign{kind}"
            else:
                entry.type = TYPES[kind]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"foreign.{name}")) for name in MESSAGES}


def serve(path, model, input_name, output_name, contents):
    pb, session = classes(), onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given, wanted = session.get_inputs()[0], session.get_outputs()[0]

    def described(name, value):
        shape = [size if isinstance(size, int) else -1 for size in value.shape]
        return pb["Tensor"](name=name, datatype="FP32", shape=shape)

    def check(name, context):
        if name != model:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: {name}")

    def metadata(request, context):
        check(request.name, context)
        return pb["ModelMetadataResponse"](
            name=model, versions=["1"], inputs=[described(input_name, given)], outputs=[described(output_name, wanted)]
        )

    def infer(request, context):
        check(request.model_name, context)
        (tensor,), (data,) = request.inputs, request.raw_input_contents
        plain = (request.model_version, *request.parameters, *tensor.parameters) == ("",)
        if not plain or (tensor.name, tensor.datatype) != (input_name, "FP32"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"What is this? {request!s:.200}")
        logits = session.run(None, {given.name: np.frombuffer(data, np.float32).reshape(tensor.shape)})[0]
        reply = pb["ModelInferResponse"](model_name=model, model_version="1", id=request.id)
        output = reply.outputs.add(name=output_name, datatype="FP32", shape=logits.shape)
        if contents == "typed":
            output.contents.fp32_contents.extend(logits.ravel())
        else:
            reply.raw_output_contents.append(logits.tobytes())
        return reply

    def method(call, request):
        return grpc.unary_unary_rpc_method_handler(
            call, pb[request].FromString, lambda reply: reply.SerializeToString()
        )

    server = grpc.server(ThreadPoolExecutor(2))
    calls = {
        "ModelMetadata": method(metadata, "ModelMetadataRequest"),
        "ModelInfer": method(infer, "ModelInferRequest"),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", calls),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(1).wait()


if __name__ == "__main__":
    assert not any(name.partition(".")[0] in ("cutlayer", "edge", "cloud") for name in sys.modules)
    serve(*sys.argv[1:])
