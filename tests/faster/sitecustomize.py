"""Python imports this in every command that tests run: garbage collection takes a fifth of DVC's time."""

import atexit
import gc

gc.set_threshold(100_000, 1000, 1000)
atexit.register(gc.freeze)
