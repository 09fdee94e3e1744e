"""The front door: command line, ONNX import, phases, recipes, check and compare."""
