"""Fault injection. FAULTS=long in the environment injects more faults and writes docs/faults.csv."""
