"""What can go wrong, done on purpose. FAULTS=long in the environment does it more often, and writes docs/faults.csv."""
