"""PyTorch checkpoint -> ONNX bundle, and the proof that both compute the same."""
