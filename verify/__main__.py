"""What `make verify` runs: see verify/circumstances.py."""

from stages import run  # first, as it sets how tqdm writes to a log
from verify.circumstances import main

if __name__ == "__main__":
    run(main)
