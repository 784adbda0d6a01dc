"""ONNX files: export, quantisation, the checks that they must pass, and the table of layers."""
