"""The committed message classes are those of the .proto files."""

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from cutlayer.wire import error_pb2, open_inference_pb2, training_pb2

PROTO = Path(__file__).parents[2] / "proto"


@pytest.mark.parametrize("module", [open_inference_pb2, error_pb2, training_pb2])
def test_generated_classes_are_fresh(module, tmp_path):
    protoc = pytest.importorskip("grpc_tools.protoc")
    name = module.DESCRIPTOR.name
    assert protoc.main(["protoc", f"-I{PROTO}", f"--descriptor_set_out={tmp_path / 'set'}", name]) == 0
    fresh = FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file[0]
    committed = type(fresh).FromString(module.DESCRIPTOR.serialized_pb)
    # Descriptors rather than text, for each release of protoc writes the same classes differently.
    fresh.ClearField("source_code_info")
    for field in (f for m in fresh.message_type for f in m.field):
        field.ClearField("json_name")
    assert [m.name for m in fresh.message_type] == [m.name for m in committed.message_type]
    assert _fields(fresh) == _fields(committed)
    assert fresh.service == committed.service


def _fields(file):
    """Every field of every message, with its number and type."""

    def of(message, path):
        yield from ((path, f.name, f.number, f.type, f.type_name, f.label) for f in message.field)
        for inner in message.nested_type:
            yield from of(inner, f"{path}.{inner.name}")

    return sorted(row for message in file.message_type for row in of(message, message.name))


# Published by the Open Inference Protocol, and by Triton for the last one; in the order of their numbers.
@pytest.mark.parametrize(
    ("message", "names"),
    [
        ("ModelInferRequest", "model_name model_version id parameters inputs outputs raw_input_contents"),
        ("ModelInferResponse", "model_name model_version id parameters outputs raw_output_contents"),
        ("ModelMetadataResponse", "name versions platform inputs outputs"),
        ("ModelStreamInferResponse", "error_message infer_response"),
    ],
)
def test_field_numbers_are_the_published_ones(message, names):
    fields = getattr(open_inference_pb2, message).DESCRIPTOR.fields
    assert {field.number: field.name for field in fields} == dict(enumerate(names.split(), 1))
