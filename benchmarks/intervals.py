"""Do intervals hold what they promise? A tiny model of phantom heads, people to calibrate on, and others to count.

    python benchmarks/intervals.py OUT [--people 50]

T1w → FA at 24³ voxels: 8 people train, 2 choose, PEOPLE calibrate, PEOPLE more are synthesised by file with
intervals, and counted in their masks.
"""

import argparse
from pathlib import Path

import numpy as np

from transmodal.data.bring import PrepareSettings
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.data.prepare import prepare
from transmodal.data.volume import read_volume
from transmodal.experiment.calibrate import calibrate
from transmodal.experiment.train import train
from transmodal.inference.files import synthesize_paths
from transmodal.recipe import make_recipe

SHARES = (0.5, 0.8, 0.9)


def main(out: Path, people: int) -> str:
    heads, run = out / "heads", out / "run"
    if not (heads / "cases.tsv").exists():
        settings = PhantomSettings(
            subjects=10 + 2 * people, size=(24, 24, 24), spacing=8.5, contrasts=("T1w", "FA")
        )
        write_cohort(heads, settings, workers=1)
    rows = (heads / "cases.tsv").read_text().splitlines()
    parts = ["train"] * 8 + ["val"] * 2 + ["test"] * people
    chosen = [f"{row}\t{part}" for row, part in zip(rows[1 : 11 + people], parts, strict=True)]
    (heads / "known.tsv").write_text("\n".join([f"{rows[0]}\tsplit", *chosen]) + "\n")
    prepared = prepare(heads / "known.tsv", out / "prepared", PrepareSettings())
    table = {
        "data": {"path": str(prepared.path), "sources": ["T1w"], "targets": ["FA"]},
        "sampling": {"size": [24, 24], "flip": 0.5},
        "method": {"name": "regression", "width": 4, "depth": 2},
        "training": {
            "steps": 200,
            "batch_size": 4,
            "precision": "fp32",
            "validate_every": 0,
            "optimizer": {"lr": 3e-3},
        },
        "evaluation": {"metrics": ["MAE"], "floors": [], "keep_predictions": False},
    }
    if not (run / "evaluation.json").exists():
        train(make_recipe(table, "tiny"), run, device="cpu", force=True)
    lines = [
        calibrate(run, device="cpu"),
        "",
        "| stated | held, mean over new people | least | most | mean width |",
        "|---|---|---|---|---|",
    ]
    names = [row.split("\t")[0] for row in rows[11 + people :]]
    for share in SHARES:
        held, widths = zip(
            *(counted(run, heads / name, out / "made" / f"{share}", share) for name in names), strict=True
        )
        lines.append(
            f"| {share:.0%} | {np.mean(held):.1%} | {min(held):.1%} | {max(held):.1%} | {np.mean(widths):.3f} |"
        )
    return "\n".join(lines)


def counted(run: Path, head: Path, out: Path, share: float) -> tuple[float, float]:
    """Share of the voxels in the mask that the written interval holds, and its mean width."""
    path = out / f"{head.name}.nii.gz"
    words = [str(head / "T1w.nii.gz")]
    synthesize_paths(run, words, path, mask=head / "mask.nii.gz", device="cpu", force=True, interval=share)
    low, high = (read_volume(out / f"{head.name}_{which}.nii.gz").data for which in ("lower", "upper"))
    truth, inside = read_volume(head / "FA.nii.gz").data, read_volume(head / "mask.nii.gz", label=True).data > 0
    return float(((low <= truth) & (truth <= high))[inside].mean()), float((high - low)[inside].mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--people", type=int, default=50)
    given = parser.parse_args()
    print(main(given.out, given.people))
