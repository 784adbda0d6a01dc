"""The model registry: versions, pointers and history."""
