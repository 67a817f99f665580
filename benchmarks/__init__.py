"""The benchmark."""

import stages  # noqa: F401 - it sets how tqdm writes to a log, before tqdm is imported
