"""Graphs from models that are written elsewhere: in torch, or in an ONNX file."""
