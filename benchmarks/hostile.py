"""Hostile files for as long as you like: tests/survival/test_hostile_*.py with new chances every time.

    python benchmarks/hostile.py [--minutes 30] [--examples 500]

Each round draws new changes to proper scans (NIfTI, MGH, NRRD, MetaImage, PNG, arrays, DICOM), models, weights,
calibrations, recipes, suites and tables, and to what is kept of prepared data, runs, lesions, budgets and stacks.
A reader that answers with anything but what it reads or a sentence, or that ends the process, ends the
soak; hypothesis prints the smallest change that does it. Every round says how many files it tried.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

TESTS = sorted((Path(__file__).parent.parent / "tests" / "survival").glob("test_hostile_*.py"))


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=float, default=30)
    words.add_argument("--examples", type=int, default=500, help="changes of each kind in a round")
    chosen = words.parse_args()
    end, rounds, code = time.monotonic() + 60 * chosen.minutes, 0, 0
    while code == 0 and time.monotonic() < end:
        command = [sys.executable, "-m", "pytest", "-q", "--timeout", "3600", *map(str, TESTS)]
        code = subprocess.call(command, env={**os.environ, "TRANSMODAL_HOSTILE": str(chosen.examples)})
        rounds += code == 0
    print(f"{rounds} rounds of {chosen.examples} changes of each kind were survived")
    return code


if __name__ == "__main__":
    sys.exit(main())
