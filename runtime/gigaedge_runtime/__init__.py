"""Cameras -> composite -> chunk -> limits -> arm. Never imports torch or onnx."""
