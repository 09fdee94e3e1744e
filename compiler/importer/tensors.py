"""TensorProto to numpy, checked, and without a copy where the bytes are as numpy has them."""

from __future__ import annotations

import sys
from math import prod

import numpy as np
from onnx import SparseTensorProto, TensorProto, numpy_helper
from xdsl.ir import Attribute

from ...dialects import onnx_types as types
from ...dialects.constants import Array
from ...isa.errors import InputError
from ...isa.frozen import frozen
from .external import ExternalData

_LARGEST = 2**40
"""Elements of the largest tensor that is taken for one; a greater count is a damaged file."""


@frozen
class TensorReader:
    """Reads the tensors of one model. Every method raises InputError naming the tensor that is not valid."""

    model: str
    external: ExternalData

    def read(self, tensor: TensorProto, raw: memoryview | None = None) -> Array:
        """The tensor's value; `raw` are its bytes if they were left in the file."""
        element = types.element_of_code(tensor.data_type)
        if isinstance(element, types.UnknownType):
            raise self._error(tensor, f"has the unknown element type {tensor.data_type}")
        shape = tuple(tensor.dims)
        if any(extent < 0 for extent in shape) or prod(shape) > _LARGEST:
            raise self._error(tensor, f"has the shape {list(shape)}")
        if tensor.HasField("segment"):
            raise self._error(tensor, "is stored in segments, which ONNX never specified")
        dtype = types.dtype_of(element)
        if tensor.data_location == TensorProto.EXTERNAL:
            if isinstance(element, types.StringType):
                raise self._error(tensor, "is text in an external file, which ONNX does not allow")
            raw = self.external.read(tensor, _stored_bytes(element, prod(shape)))
        elif raw is None and tensor.HasField("raw_data"):
            raw = memoryview(tensor.raw_data)
        if raw is None or isinstance(element, types.StringType):
            return self._typed(tensor, shape, dtype)
        need = _stored_bytes(element, prod(shape))
        if len(raw) != need:
            raise self._error(tensor, f"has {len(raw)} bytes of data, and its shape {list(shape)} needs {need}")
        if types.bits_of(element) < 8:
            packed = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=shape, raw_data=bytes(raw))
            return np.asarray(numpy_helper.to_array(packed))
        array = np.frombuffer(raw, dtype).reshape(shape)
        return array if sys.byteorder == "little" else array.byteswap()

    def read_sparse(self, tensor: SparseTensorProto) -> Array:
        """The sparse tensor's value, dense."""
        values, indices, shape = self.read(tensor.values), self.read(tensor.indices), tuple(tensor.dims)
        if any(extent < 0 for extent in shape) or prod(shape) > _LARGEST:
            raise self._error(tensor.values, f"has the shape {list(shape)}")
        dense = np.zeros(shape, values.dtype)
        try:
            if indices.ndim == 1:
                dense.reshape(-1)[indices] = values
            else:
                dense[tuple(indices.T)] = values
        except (IndexError, ValueError) as error:
            raise self._error(tensor.values, f"has indices that do not fit its shape {list(shape)}") from error
        return dense

    def _typed(self, tensor: TensorProto, shape: tuple[int, ...], dtype: types.DType) -> Array:
        """The value of a tensor whose elements stand in one of the typed fields."""
        if prod(shape) == 0:
            return np.zeros(shape, dtype)
        try:
            return np.asarray(numpy_helper.to_array(tensor), dtype)
        except (ValueError, TypeError) as error:
            raise self._error(tensor, f"does not hold the data that its shape {list(shape)} needs") from error

    def _error(self, tensor: TensorProto, reason: str) -> InputError:
        return InputError(self.model, f"the tensor {tensor.name!r} {reason}")


def _stored_bytes(element: Attribute, elements: int) -> int:
    """The bytes that so many elements take in a file, narrow ones packed."""
    return (elements * types.bits_of(element) + 7) // 8
