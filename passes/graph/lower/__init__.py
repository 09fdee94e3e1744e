"""Lowering of `onnx` operations to `nn` and `sattn`: a table of rules keyed by (domain, operator)."""
