"""Proves that a rebuild gives the same bytes, whatever the circumstances."""

import stages  # noqa: F401 - it sets how tqdm writes to a log, before tqdm is imported
