"""Evaluation of ONNX files: metrics with intervals, slices, comparison of two models, synthetic pictures."""
