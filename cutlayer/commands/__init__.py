"""The commands of `cutlayer`: a function for each, whose arguments are the options.

Each imports what it needs when it runs, so that the device never loads torch.
"""

import sys


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output holds results alone."""
    print(text, file=sys.stderr, flush=True)
