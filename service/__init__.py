"""The runtime: a photo in, a verdict out. Imports neither torch nor anything of training."""
