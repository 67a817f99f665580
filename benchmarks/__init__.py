"""Benchmarks of training time, the overhead of jobs, and the power of the comparisons."""

import stages  # noqa: F401 - configures tqdm for logs, before tqdm is imported
