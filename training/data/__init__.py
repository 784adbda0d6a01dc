"""Photos: find, correct, check and split them, and load them as tensors."""
