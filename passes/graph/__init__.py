"""From ONNX operations to a small vocabulary of tensor operations, with the model's structure recognised."""
