"""ONNX files to the `onnx` dialect: loading, shapes, folding, subgraphs and functions."""

from .model import import_model
from .shapes import parse_shapes

__all__ = ["import_model", "parse_shapes"]
