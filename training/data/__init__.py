"""Photos: found, checked, split and turned into tensors."""
