"""An encoder as an int8 TensorFlow Lite file, for Vela: written with the file format's schema that Vela itself holds.

    python benchmarks/tflite_encoder.py bert-tiny bert_tiny.tflite

Operators are those that converters make of the same encoder: FULLY_CONNECTED, BATCH_MATMUL, SOFTMAX, GELU, and layer
normalization by its parts. Weights are random: Vela's figures do not depend on activations, and on weights by how well
they compress only. The attention's scale stands in the queries' weights.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from encoders import ENCODERS, Encoder

SCALE = 1 / 16
"""The scale of every activation: values of a normalized encoder lie within 8 of zero."""

_CODES = {
    "ADD": (0, "AddOptions"),
    "BATCH_MATMUL": (126, "BatchMatMulOptions"),
    "FULLY_CONNECTED": (9, "FullyConnectedOptions"),
    "GELU": (150, "GeluOptions"),
    "MEAN": (40, "ReducerOptions"),
    "MUL": (18, "MulOptions"),
    "RESHAPE": (22, "ReshapeOptions"),
    "RSQRT": (76, ""),
    "SOFTMAX": (25, "SoftmaxOptions"),
    "SQUARED_DIFFERENCE": (99, "SquaredDifferenceOptions"),
    "SUB": (41, "SubOptions"),
    "TRANSPOSE": (39, "TransposeOptions"),
}
"""Of each operator used: its code, and the table of its options."""

_TYPES = {np.dtype(np.int8): 9, np.dtype(np.int32): 2}


def _schema(table: str) -> Any:
    return import_module(f"ethosu.vela.tflite.{table}")


class TfliteGraph:
    """Collects tensors and operators; a tensor is known by its number."""

    def __init__(self, seed: int = 0) -> None:
        import flatbuffers

        self._builder = flatbuffers.Builder(1 << 20)
        self._random = np.random.default_rng(seed)
        # The format wants buffer 0 empty; tensors without contents name it.
        self._buffers = [self._table("Buffer")]
        self._tensors: list[int] = []
        self._operators: list[int] = []
        self._codes: dict[str, int] = {}
        self.shapes: list[tuple[int, ...]] = []

    def tensor(
        self, shape: tuple[int, ...], scale: float | np.ndarray = SCALE, contents: np.ndarray | None = None
    ) -> int:
        """A tensor: int8 activation, or a constant of its contents' type, with a scale (one a channel of axis 0)."""
        builder = self._builder
        buffer = 0
        if contents is not None:
            data = builder.CreateByteVector(np.ascontiguousarray(contents).tobytes())
            self._buffers.append(self._table("Buffer", Data=data))
            buffer = len(self._buffers) - 1
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        quantization = self._table(
            "QuantizationParameters",
            Scale=builder.CreateNumpyVector(scales),
            ZeroPoint=builder.CreateNumpyVector(np.zeros(len(scales), np.int64)),
        )
        name = builder.CreateString(f"tensor_{len(self._tensors)}")
        dtype = np.dtype(np.int8) if contents is None else contents.dtype
        described = builder.CreateNumpyVector(np.array(shape, np.int32))
        self._tensors.append(
            self._table(
                "Tensor", Shape=described, Type=_TYPES[dtype], Buffer=buffer, Name=name, Quantization=quantization
            )
        )
        self.shapes.append(shape)
        return len(self._tensors) - 1

    def constant(self, values: list[int]) -> int:
        """An int32 constant: a shape, axes or a permutation."""
        contents = np.array(values, np.int32)
        return self.tensor(contents.shape, 1.0, contents)

    def operator(
        self, kind: str, inputs: list[int], shape: tuple[int, ...], scale: float = SCALE, **options: Any
    ) -> int:
        """An operator with one result of a shape and scale, which is returned; `options` are fields of its table."""
        builder = self._builder
        _, table = _CODES[kind]
        result = self.tensor(shape, scale)
        fields: dict[str, Any] = {
            "OpcodeIndex": self._codes.setdefault(kind, len(self._codes)),
            "Inputs": builder.CreateNumpyVector(np.array(inputs, np.int32)),
            "Outputs": builder.CreateNumpyVector(np.array([result], np.int32)),
        }
        if table:
            names = _schema("BuiltinOptions").BuiltinOptions
            fields["BuiltinOptionsType"] = getattr(names, table)
            fields["BuiltinOptions"] = self._table(table, **options)
        self._operators.append(self._table("Operator", **fields))
        return result

    def linear(self, x: int, out: int) -> int:
        """x @ weight + bias, with a scale for each of the `out` channels."""
        tokens, width = self.shapes[x]
        weights = self._random.normal(0, 40, (out, width)).clip(-127, 127).astype(np.int8)
        factors = np.full(out, width**-0.5 / 40, np.float32)
        weight = self.tensor((out, width), factors, weights)
        bias = self.tensor((out,), factors * SCALE, self._random.integers(-99, 99, out).astype(np.int32))
        return self.operator("FULLY_CONNECTED", [x, weight, bias], (tokens, out), KeepNumDims=True)

    def norm(self, x: int) -> int:
        """Layer normalization over the last axis, by its parts."""
        tokens, width = self.shapes[x]
        rows, last = (tokens, 1), self.constant([1])
        mean = self.operator("MEAN", [x, last], rows, KeepDims=True)
        centred = self.operator("SUB", [x, mean], (tokens, width))
        squares = self.operator("SQUARED_DIFFERENCE", [x, mean], (tokens, width))
        variance = self.operator("MEAN", [squares, last], rows, KeepDims=True)
        guarded = self.operator("ADD", [variance, self.row(1)], rows)
        inverse = self.operator("RSQRT", [guarded], rows)
        normal = self.operator("MUL", [centred, inverse], (tokens, width))
        scaled = self.operator("MUL", [normal, self.row(width)], (tokens, width))
        return self.operator("ADD", [scaled, self.row(width)], (tokens, width))

    def row(self, width: int) -> int:
        """A random int8 row that broadcasts over tokens."""
        return self.tensor((1, width), SCALE, self._random.integers(1, 99, (1, width)).astype(np.int8))

    def finish(self, given: int, result: int) -> bytes:
        """The file."""
        builder = self._builder
        graph = self._table(
            "SubGraph",
            Tensors=self._offsets(self._tensors),
            Inputs=builder.CreateNumpyVector(np.array([given], np.int32)),
            Outputs=builder.CreateNumpyVector(np.array([result], np.int32)),
            Operators=self._offsets(self._operators),
        )
        # Codes above 127 stand in the newer field only.
        codes = [
            self._table("OperatorCode", DeprecatedBuiltinCode=min(code, 127), Version=1, BuiltinCode=code)
            for code, _ in (_CODES[kind] for kind in self._codes)
        ]
        fields = {
            "Version": 3,
            "OperatorCodes": self._offsets(codes),
            "Subgraphs": self._offsets([graph]),
            "Buffers": self._offsets(self._buffers),
        }
        builder.Finish(self._table("Model", **fields), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _table(self, name: str, **fields: Any) -> int:
        schema = _schema(name)
        schema.Start(self._builder)
        for field, value in fields.items():
            getattr(schema, f"Add{field}")(self._builder, value)
        return schema.End(self._builder)

    def _offsets(self, entries: list[int]) -> int:
        self._builder.StartVector(4, len(entries), 4)
        for entry in reversed(entries):
            self._builder.PrependUOffsetTRelative(entry)
        return self._builder.EndVector()


def build(size: Encoder) -> bytes:
    """The encoder as the bytes of a TensorFlow Lite file; activations are [tokens, width]."""
    graph = TfliteGraph()
    tokens, width, heads, head = size.tokens, size.width, size.heads, size.width // size.heads

    def split(x: int) -> int:
        parted = (1, tokens, heads, head)
        parts = graph.operator("RESHAPE", [graph.linear(x, width), graph.constant(list(parted))], parted)
        return graph.operator("TRANSPOSE", [parts, graph.constant([0, 2, 1, 3])], (1, heads, tokens, head))

    def attention(x: int) -> int:
        query, key, value = (split(x) for _ in range(3))
        scores = graph.operator("BATCH_MATMUL", [query, key], (1, heads, tokens, tokens), AdjY=True)
        weights = graph.operator("SOFTMAX", [scores], (1, heads, tokens, tokens), 1 / 256, Beta=1.0)
        context = graph.operator("BATCH_MATMUL", [weights, value], (1, heads, tokens, head))
        merged = graph.operator("TRANSPOSE", [context, graph.constant([0, 2, 1, 3])], (1, tokens, heads, head))
        flat = graph.operator("RESHAPE", [merged, graph.constant([tokens, width])], (tokens, width))
        return graph.linear(flat, width)

    def feed_forward(x: int) -> int:
        return graph.linear(graph.operator("GELU", [graph.linear(x, size.hidden)], (tokens, size.hidden)), width)

    given = x = graph.tensor((tokens, width))
    for _ in range(size.layers):
        for branch in (attention, feed_forward):
            if size.pre_norm:
                x = graph.operator("ADD", [x, branch(graph.norm(x))], (tokens, width))
            else:
                x = graph.norm(graph.operator("ADD", [x, branch(x)], (tokens, width)))
    return graph.finish(given, x)


def main() -> None:
    """Write one of the named encoders to a file."""
    if len(sys.argv) != 3 or sys.argv[1] not in ENCODERS:
        sys.exit(f"usage: tflite_encoder.py {{{','.join(ENCODERS)}}} OUT.tflite")
    Path(sys.argv[2]).write_bytes(build(ENCODERS[sys.argv[1]]))


if __name__ == "__main__":
    main()
