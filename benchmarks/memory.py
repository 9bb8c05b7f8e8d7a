"""Whether memory is flat in the number of cases, and known before: peaks that processes read of themselves.

    python benchmarks/memory.py synthesize DATASET --model MODEL --out OUT
    python benchmarks/memory.py train DATASET --out OUT
    python benchmarks/memory.py forecasts DATASET --out OUT [--only METHOD ...]

DATASET is a folder with a few cases, which are listed again and again under other names: 4, 64 and 256 of them.
``synthesize`` takes those of a model; ``train`` prepares them and trains a tiny network on them (T1w, T2w);
``forecasts`` compares what --dry-run says with what training each registered method takes, at sizes where the
networks matter. Linux only.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transmodal import registry
from transmodal.data.layout import find_cases
from transmodal.inference.model import load_model
from transmodal.reporting.toml import to_toml

COUNTS = (4, 64, 256)
MEASURED = """
import sys
from transmodal.__main__ import main
try:
    code = main()
except SystemExit as end:
    code = end.code
print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)
sys.exit(code)
"""
"""What a parent sees of a child's peak starts at the parent's own size."""

LARGE: dict[str, dict[str, Any]] = {
    "aginet": {"width": 16, "depth": 2, "critic_width": 16, "critic_layers": 2},
    "colorization": {
        "width": 32, "blocks": 2, "critic_width": 16, "critic_layers": 2, "segmenter_width": 8,
        "allow_random": True,
    },
    "cyclegan": {"width": 24, "blocks": 2, "critic_width": 16, "critic_layers": 2, "pool": 4},
    "macro2micro": {
        "width": 32, "critic_width": 16, "patch_width": 8, "patch_hidden": 64, "patch_size": 32, "patches": 2,
        "vgg_taps": ["relu1_1"], "allow_random": True,
    },
    "mrnet": {
        "width": 24, "stages": 3, "fuse_stages": [1, 2], "mask_stages": [0, 1, 2], "encoder": "sam_tiny",
        "encoder_size": 64, "allow_random": True, "critic_width": 16, "critic_layers": 2,
    },
    "pix2pix": {"width": 32, "depth": 4, "critic_width": 32, "norm": "instance"},
    "regression": {"width": 32, "depth": 3},
    "segmentation": {"width": 32, "depth": 3},
}  # fmt: skip
"""Arguments of networks whose activations are most of the memory, with :data:`BATCH` slices of 64 × 64."""
BATCH = {"aginet": 64, "regression": 128, "segmentation": 96, "pix2pix": 128}


def measured(*words: object) -> tuple[float, str]:
    """MB that a command holds at most, and what it printed."""
    command = [sys.executable, "-c", MEASURED, *map(str, words), "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert done.returncode == 0, done.stderr
    assert peak is not None, done.stderr
    return int(peak[1]) * 1024 / 1e6, done.stdout


def listed(dataset: Path, modalities: Sequence[str], count: int, out: Path) -> Path:
    """A table of so many cases."""
    cases = find_cases(dataset)
    rows = [["case", "split", *modalities]]
    for number in range(count):
        images = cases[number % len(cases)].images
        part = ("val", "test")[number] if number < 2 else "train"
        rows.append([f"case-{number}", part, *(str(images[name].absolute()) for name in modalities)])
    table = out / f"{count}.tsv"
    table.write_text("".join("\t".join(row) + "\n" for row in rows))
    return table


def recipe(path: Path, method: dict[str, Any], training: dict[str, Any]) -> Path:
    """A recipe of T1w → T2w."""
    table = {
        "data": {"sources": ["T1w"], "targets": ["T2w"], "folds": 4},
        "sampling": {"size": [64, 64]},
        "method": method,
        "training": {"validate_every": 0, "save_every": 0} | training,
        "evaluation": {"metrics": ["MAE"], "floors": []},
    }
    path.write_text(to_toml(table))
    return path


def synthesize(dataset: Path, model: Path, out: Path) -> None:
    """Peak by number of cases."""
    for count in COUNTS:
        table = listed(dataset, load_model(model).task.sources, count, out)
        peak, _ = measured("synthesize", model, table, "--out", out / str(count), "--device", "cpu")
        print(f"| {count} | {peak:.0f} |", flush=True)


def train(dataset: Path, out: Path) -> None:
    """Peaks of prepare and of train by number of cases; validated and judged on one case each."""
    small = recipe(
        out / "small.toml", {"name": "regression", "width": 4, "depth": 2}, {"steps": 40, "batch_size": 4}
    )
    for count in COUNTS:
        table, prepared = listed(dataset, ("T1w", "T2w"), count, out), out / f"prepared-{count}"
        first, _ = measured("prepare", table, "--out", prepared, "--workers", 1)
        run = (f"data.path={prepared}", "--out", out / f"run-{count}", "--device", "cpu")
        second, _ = measured("train", small, *run)
        print(f"| {count} | {first:.0f} | {second:.0f} |", flush=True)


def forecasts(dataset: Path, out: Path, only: Sequence[str]) -> None:
    """What --dry-run says of every method, what training it takes, and the ratio."""
    for name in only or registry.names():
        settings = {"steps": 3, "batch_size": BATCH.get(name, 32)}
        large = recipe(out / f"{name}.toml", {"name": name, **LARGE.get(name, {})}, settings)
        words = (large, f"data.path={dataset}", "--out", out / name, "--device", "cpu")
        _, said = measured("train", *words, "--dry-run")
        found = re.search(r"takes about ([\d.]+) GB", said)
        assert found is not None, said
        peak, _ = measured("train", *words)
        foretold = 1000 * float(found[1])
        print(f"| {name} | {foretold:.0f} | {peak:.0f} | {foretold / peak:.2f} |", flush=True)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", choices=("synthesize", "train", "forecasts"))
    words.add_argument("dataset", type=Path)
    words.add_argument("--model", type=Path)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--only", nargs="*", default=(), help="methods")
    chosen = words.parse_args()
    chosen.out.mkdir(parents=True)
    if chosen.what == "synthesize":
        synthesize(chosen.dataset, chosen.model, chosen.out)
    elif chosen.what == "train":
        train(chosen.dataset, chosen.out)
    else:
        forecasts(chosen.dataset, chosen.out, chosen.only)


if __name__ == "__main__":
    main()
