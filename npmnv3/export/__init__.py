"""A network for other tools: as an ONNX graph, or as test vectors with a checker in C."""
