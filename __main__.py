"""Runs the command: ``python -m hetgym``."""

from .cli import main

if __name__ == "__main__":
    main()
