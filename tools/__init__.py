"""Commands that are not pipeline stages."""

import stages  # noqa: F401 - handles Ctrl-C during the imports that follow, and configures tqdm for logs
