"""Whether synthesis is flat in the number of cases: the peak of a process for 4, 64 and 256 of them.

    python benchmarks/memory.py MODEL DATASET --out OUT

DATASET is a folder with a few cases of the model's sources, which are listed again and again under other names.
Linux only.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from transmodal.data.layout import find_cases
from transmodal.inference.model import load_model


def peak(*words: object) -> float:
    """MB that a command holds at most."""
    process = subprocess.Popen(
        [sys.executable, "-m", "transmodal", *map(str, words), "-q"], stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_maxrss * 1024 / 1e6


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("model", type=Path)
    words.add_argument("dataset", type=Path)
    words.add_argument("--out", type=Path, required=True)
    chosen = words.parse_args()
    sources, cases = load_model(chosen.model).task.sources, find_cases(chosen.dataset)
    chosen.out.mkdir(parents=True)
    for count in (4, 64, 256):
        table = chosen.out / f"{count}.tsv"
        rows = [["case", *sources]]
        for number in range(count):
            images = cases[number % len(cases)].images
            rows.append([f"case-{number}", *(str(images[source].absolute()) for source in sources)])
        table.write_text("".join("\t".join(row) + "\n" for row in rows))
        print(f"| {count} | {peak('synthesize', chosen.model, table, '--out', chosen.out / str(count)):.0f} |")


if __name__ == "__main__":
    main()
