"""Measure SeeFood and its peers as services."""
