"""Kills for as long as you like: tests/survival/test_kills.py with new instants every time.

    python benchmarks/kills.py [--minutes 30] [--kills 12]

Each round kills prepare, train, synthesize on a folder, export, calibrate, evaluate (with and without a passport)
and benchmark by SIGKILL: at one of their operations on files, or at any moment by the clock, or at both, one after
the other. After each kill every file must be whole or absent; run again, the command must end with the same files
as undisturbed: a training with the same curve and weights, bit for bit. The first that does not ends the soak.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests" / "survival" / "test_kills.py"


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=float, default=30)
    words.add_argument("--kills", type=int, default=12, help="of each command in a round")
    chosen = words.parse_args()
    end, rounds, code = time.monotonic() + 60 * chosen.minutes, 0, 0
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "3600", "-k", "not disk", str(TESTS)]
    while code == 0 and time.monotonic() < end:
        code = subprocess.call(command, env={**os.environ, "TRANSMODAL_KILLS": str(chosen.kills)})
        rounds += code == 0
    print(f"{rounds} rounds of {chosen.kills} kills of each command were survived")
    return code


if __name__ == "__main__":
    sys.exit(main())
