"""Training: folders of photos in, one self-contained ONNX file out; `train.py` is the whole pipeline."""
