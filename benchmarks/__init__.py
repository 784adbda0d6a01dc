"""Measurements of speed and accuracy, and tables of their results."""
