"""`python -m attnc` is the command `attnc`."""

import sys

from .compiler.command_line.main import main

if __name__ == "__main__":
    sys.exit(main())
