"""`python -m attnc` is the command `attnc`."""

from .compiler.command_line.main import process

if __name__ == "__main__":
    process()
