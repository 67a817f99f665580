"""Proves that a rebuild gives the same bytes, whatever the circumstances."""
