"""``python -m transmodal`` and the ``transmodal`` command."""

import sys

from transmodal.cli import run


def main() -> None:
    """Run the command on the command line and end with its exit code."""
    sys.exit(run())


if __name__ == "__main__":
    main()
