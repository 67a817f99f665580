"""The entry point of `make verify`; see tools/verify/circumstances.py."""

import stages  # noqa: F401 - first, as it configures tqdm for logs
from pipeline.stage import exit_on_user_error
from tools.verify.circumstances import main

if __name__ == "__main__":
    exit_on_user_error(main)
