"""ONNX files: export, quantisation, parity gates, and the table of layers."""
