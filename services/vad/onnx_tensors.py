"""The weights in an ONNX file, without a package that runs it.

Such a file is a protobuf message. Of ONNX's messages (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) only the
fields that lead to a graph's initial tensors are described here; protobuf skips the others.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from services.vad.engine import Floats

# Of each message the fields: name, number, whether there are many, and what it is.
MESSAGES: Final[dict[str, list[tuple[str, int, bool, str]]]] = {
    "Model": [("graph", 7, False, "Graph")],
    "Graph": [("initializer", 5, True, "Tensor")],
    "Tensor": [
        ("dims", 1, True, "int64"),
        ("data_type", 2, False, "int32"),
        ("name", 8, False, "string"),
        ("raw_data", 9, False, "bytes"),
    ],
}
FLOAT: Final = 1  # TensorProto.DataType


def read(path: Path) -> dict[str, Floats]:
    """Return the initial float32 tensors of the ONNX file at *path*, by name. They cannot be written to.

    Raises:
        OSError: it cannot be read.
        google.protobuf.message.DecodeError: it is no such file.
        ValueError: a tensor has not as many numbers as its shape says.
    """
    model = _model()()
    model.ParseFromString(path.read_bytes())
    return {
        tensor.name: np.frombuffer(tensor.raw_data, "<f4").reshape(tuple(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type == FLOAT and tensor.raw_data
    }


@cache
def _model() -> Any:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="onnx_tensors.proto", package="onnx_tensors", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, many, kind in fields:
            described = message.field.add(name=field, number=number)
            described.label = kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL
            if kind in MESSAGES:
                described.type, described.type_name = kinds.TYPE_MESSAGE, f".onnx_tensors.{kind}"
            else:
                described.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()  # a pool of its own: other packages may know ONNX's messages too
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("onnx_tensors.Model"))
