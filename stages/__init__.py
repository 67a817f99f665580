"""The scripts that dvc.yaml runs, one for each stage."""

import os
import sys

# each library reads these once, when a process first imports it or starts
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # networks train side by side: more threads would get in the way
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "100000000")  # glibc keeps the memory of arrays for the next ones
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "1000000000")
# tqdm reads these once, when a stage imports it: a log gets a line every few seconds in place of a moving bar
if not sys.stderr.isatty():
    os.environ.setdefault("TQDM_MININTERVAL", "5")
    os.environ.setdefault(
        "TQDM_BAR_FORMAT", "{desc} {percentage:.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]\n"
    )
