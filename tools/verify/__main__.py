"""The entry point of `make verify`; see tools/verify/circumstances.py."""

from pipeline.stage import exit_on_user_error
from tools.verify.circumstances import main

if __name__ == "__main__":
    exit_on_user_error(main)
