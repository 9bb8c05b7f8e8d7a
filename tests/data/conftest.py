"""Small heads on disk: an ellipsoid with a core, different in each subject, in noise-free or noisy air."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SHAPE = (20, 24, 16)
LAS = np.array([[-2.0, 0, 0, 20], [0, 2.0, 0, -24], [0, 0, 2.0, -16], [0, 0, 0, 1]])
"""A left-handed grid of 2 mm, as most scanners and MNI templates have it."""

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write an array as NIfTI below ``tmp_path``."""

    def write(name: str, data: np.ndarray, affine: np.ndarray = LAS) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(data, affine), path)
        return path

    return write


def head(seed: int, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """A T1-like head (0 outside) and its labels: 0 air, 1 shell, 2 core."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt((x / 0.8) ** 2 + (y / 0.9) ** 2 + (z / 0.85) ** 2)
    labels = (radius < 1).astype(np.uint8) + (radius < 0.5 + 0.05 * rng.random())
    image = np.array([0.0, 100.0, 60.0])[labels] * (1 + 0.1 * rng.random()) + (labels > 0) * rng.normal(
        0, 4, shape
    )
    return np.where(labels > 0, np.maximum(image, 1), 0).astype(np.float32), labels.astype(np.uint8)


@pytest.fixture
def heads(save: Save, tmp_path: Path) -> Callable[..., Path]:
    """A table of ``n`` subjects with T1w, T2w (a known function of T1w), labels and age."""

    def make(n: int = 3, gone: dict[str, str] | None = None) -> Path:
        rows = ["case\tT1w\tT2w\tlabels\tage"]
        for number in range(1, n + 1):
            case = f"sub-{number:02d}"
            t1, labels = head(number)
            save(f"raw/{case}/T1w.nii.gz", t1)
            save(f"raw/{case}/T2w.nii.gz", np.where(labels > 0, 300 - 2 * t1, 0).astype(np.float32))
            save(f"raw/{case}/labels.nii.gz", labels)
            cells = {name: f"{case}/{name}.nii.gz" for name in ("T1w", "T2w", "labels")}
            if gone and case in gone:
                cells[gone[case]] = "n/a"
            rows.append("\t".join([case, cells["T1w"], cells["T2w"], cells["labels"], str(70 + number)]))
        table = tmp_path / "raw" / "cases.tsv"
        table.write_text("\n".join(rows) + "\n")
        return table

    return make
