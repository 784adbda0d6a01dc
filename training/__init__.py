"""Folders of photos in, one self-contained ONNX file out."""
