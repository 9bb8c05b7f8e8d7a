"""``python -m transmodal`` and the ``transmodal`` command."""

import sys


def main() -> None:
    """Run the command on the command line and end with its exit code."""
    try:
        # Here, because this import takes long enough to be interrupted.
        from transmodal.cli import run

        code = run()
    except KeyboardInterrupt:
        sys.stderr.write("transmodal: interrupted before anything was begun\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
