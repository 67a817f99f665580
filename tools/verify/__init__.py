"""Verifies that a rebuild gives the same bytes under different circumstances."""
