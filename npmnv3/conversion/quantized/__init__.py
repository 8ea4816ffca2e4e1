"""Quantised models of TensorFlow Lite and ONNX Runtime, integer for integer: readers, and the network's names for the tensors."""
