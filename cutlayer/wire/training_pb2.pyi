from cutlayer.wire import open_inference_pb2 as _open_inference_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tensor(_message.Message):
    __slots__ = ("name", "datatype", "shape", "parameters")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _open_inference_pb2.InferParameter
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_open_inference_pb2.InferParameter, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    parameters: _containers.MessageMap[str, _open_inference_pb2.InferParameter]
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., parameters: _Optional[_Mapping[str, _open_inference_pb2.InferParameter]] = ...) -> None: ...

class Ask(_message.Message):
    __slots__ = ("session", "step", "answered", "parameters", "tensors", "raw_contents")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _open_inference_pb2.InferParameter
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_open_inference_pb2.InferParameter, _Mapping]] = ...) -> None: ...
    SESSION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    RAW_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    session: str
    step: int
    answered: int
    parameters: _containers.MessageMap[str, _open_inference_pb2.InferParameter]
    tensors: _containers.RepeatedCompositeFieldContainer[Tensor]
    raw_contents: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, session: _Optional[str] = ..., step: _Optional[int] = ..., answered: _Optional[int] = ..., parameters: _Optional[_Mapping[str, _open_inference_pb2.InferParameter]] = ..., tensors: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., raw_contents: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("step", "parameters", "tensors", "raw_contents")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _open_inference_pb2.InferParameter
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_open_inference_pb2.InferParameter, _Mapping]] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    RAW_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    step: int
    parameters: _containers.MessageMap[str, _open_inference_pb2.InferParameter]
    tensors: _containers.RepeatedCompositeFieldContainer[Tensor]
    raw_contents: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, step: _Optional[int] = ..., parameters: _Optional[_Mapping[str, _open_inference_pb2.InferParameter]] = ..., tensors: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., raw_contents: _Optional[_Iterable[bytes]] = ...) -> None: ...
