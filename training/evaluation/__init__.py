"""Metrics with intervals, slices, comparison of two models, and synthetic pictures."""
