"""The model registry: versions, pointers, history and runs."""
