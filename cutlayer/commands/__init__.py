"""The commands of `cutlayer`: a function for each, whose arguments are the options.

Each function imports what it needs when it runs, so that the device never imports torch.
"""

import sys


def say(text: str) -> None:
    """Print progress to standard error, so that standard output holds only results."""
    print(text, file=sys.stderr, flush=True)
