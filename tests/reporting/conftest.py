"""A made run: an ellipsoid head in two contrasts, three methods, every file that a report reads."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from transmodal.evaluation.table import Row, write_rows

SHAPE = (20, 24, 18)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
MAE = {"identity": 0.4, "mean": 0.2, "pix2pix": 0.1}
"""MAE of the first case; each further case adds 0.01."""


def head() -> np.ndarray:
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    return sum((axis / radius) ** 2 for axis, radius in zip(axes, (0.8, 0.9, 0.85), strict=True)) <= 1


def save(values: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, AFFINE), path)


def make_run(folder: Path, cases: Sequence[str]) -> Path:
    mask = head()
    reference = np.where(mask, np.linspace(0.2, 0.8, SHAPE[0])[:, None, None], 0).astype(np.float32)
    offset = {"identity": 0.1, "mean": -0.05, "pix2pix": 0.0}
    rows, entries = [], []
    for number, case in enumerate(cases):
        files = {"sources": {"T1w": f"c{number}/t1.nii"}, "reference": f"c{number}/flair.nii.gz"}
        files |= {"mask": f"c{number}/mask.nii", "predictions": {m: f"{m}/c{number}.nii.gz" for m in offset}}
        save((1 - reference) * mask * 500, folder / f"c{number}/t1.nii")
        save(reference, folder / f"c{number}/flair.nii.gz")
        save(mask.astype(np.uint8), folder / f"c{number}/mask.nii")
        for method, error in offset.items():
            save(np.where(mask, reference + error, 0).astype(np.float32), folder / f"{method}/c{number}.nii.gz")
            values = {"MAE": (MAE[method] + 0.01 * number, "window"), "PSNR": (20.0 + number, "dB")}
            for metric, (value, unit) in values.items():
                rows.append(Row(case, method, "mask", metric, "3d masked", value, unit, int(mask.sum())))
        entries.append({"case": case, **files})
    write_rows(folder / "evaluation.csv", rows)
    manifest = {"title": "T1w → FLAIR", "target": "FLAIR", "unit": "window", "window": [0.0, 1.0]}
    (folder / "report.json").write_text(json.dumps({**manifest, "cases": entries}))
    (folder / "evaluation.json").write_text(json.dumps({"summary": [], "failures": {"sub-x": "is <b>broken</b>"}}))
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log()))
    (folder / "run.json").write_text(json.dumps(RUN))
    return folder


def log() -> list[dict]:
    terms = [
        {"step": s, "seconds": s / 10, "terms": {"generator/l1": 1 / s, "critic/adversarial": 0.5}}
        for s in range(1, 9)
    ]
    return [*terms, {"step": 8, "seconds": 1.0, "validation": {"MAE": 0.1, "PSNR": 21.0}}]


RUN = {
    "format": "transmodal-run-1",
    "name": "made",
    "hash": "0123456789abcdef",
    "recipe": {
        "data": {"sources": ["T1w"], "targets": ["FLAIR"], "fold": 0, "folds": 5, "licence": "<i>none</i>"},
        "sampling": {"view": "axial"},
        "method": {"name": "pix2pix", "width": 8},
        "training": {
            "batch_size": 4, "accumulate": 2, "seed": 7, "monitor": "MAE",
            "optimizer": {"name": "adam", "lr": 2e-4, "schedule": "linear"},
        },
    },
    "split": {"train": ["a", "b", "c"], "val": ["d"], "test": ["e", "f"]},
    "environment": {"versions": {"transmodal": "0.1.0", "python": "3.11.7", "torch": "2.13.0"}, "cores": 2},
}  # fmt: skip


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[[Sequence[str]], Path]:
    return lambda cases: make_run(tmp_path / "run", cases)
