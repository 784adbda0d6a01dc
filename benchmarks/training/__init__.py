"""Measure `seefood train` and its peers; each script follows the documentation of its tool."""
