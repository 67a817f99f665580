"""Python imports this in every command that a test runs: a fifth of DVC's time is the search for garbage."""

import atexit
import gc

gc.set_threshold(100_000, 1000, 1000)
atexit.register(gc.freeze)
