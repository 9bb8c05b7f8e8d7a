"""Registration of the images of real cases: how far off they were, how well they fit before and after, pictures.

    python benchmarks/registration.py DATASET --out OUT [--reference FLAIR]

Every image of a case is registered (rigidly) to the reference. The table goes to OUT/registration.md; of each pair
OUT/CASE_IMAGE.png shows a checkerboard of an axial slice above the eyes, before and after.
"""

import argparse
import time
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from transmodal import progress
from transmodal.data.files import write_text
from transmodal.data.foreground import foreground
from transmodal.data.geometry import resample
from transmodal.data.layout import find_cases, is_drawn
from transmodal.data.register import aligned
from transmodal.data.volume import Volume, read_volume

_MM = 16.0
"""Edge of a square of the checkerboard."""
HEAD = (
    "| case | image → reference | moved (mm) | turned (degrees) | fit before | after | seconds |",
    "|---|---|" + "---:|" * 5,
)


def run(dataset: Path, out: Path, reference: str) -> str:
    lines = list(HEAD)
    for case in find_cases(dataset):
        names = [name for name in case.images if not is_drawn(name)]
        first = reference if reference in names else names[0]
        fixed = read_volume(case.images[first]).canonical()
        for name in names:
            if name == first:
                continue
            progress.note(f"{case.name} {name}")
            moving = read_volume(case.images[name]).canonical()
            started = time.monotonic()
            found = aligned(moving, fixed)
            seconds = time.monotonic() - started
            assert found.similarity is not None
            lines.append(
                f"| {case.name} | {name} → {first} | {found.translation_mm:.1f} | {found.rotation_deg:.1f} | "
                f"{found.similarity[0]:.3f} | {found.similarity[1]:.3f} | {seconds:.1f} |"
            )
            picture(out / f"{case.name}_{name}.png", fixed, [moving, found.apply(moving)])
    text = "\n".join(lines) + "\n"
    write_text(out / "registration.md", text)
    return text


def picture(path: Path, fixed: Volume, poses: list[Volume]) -> None:
    """Checkerboards of the fixed image with each pose of the other, on cubes of 1 mm."""
    grid = fixed.grid.with_spacing((1.0, 1.0, 1.0))
    ground = resample(fixed, grid)
    head = foreground(ground)
    filled = np.flatnonzero(head.sum(axis=(0, 1)) > 0.05 * head.sum(axis=(0, 1)).max())
    level = int(filled[0] + 0.62 * (filled[-1] - filled[0]))
    board = (np.add.outer(np.arange(grid.shape[0]) // _MM, np.arange(grid.shape[1]) // _MM) % 2).astype(bool)
    figure, axes = pyplot.subplots(1, len(poses), figsize=(4 * len(poses), 4.6))
    for axis, pose, title in zip(axes, poses, ("by the headers", "registered"), strict=True):
        one, other = (
            np.clip(v / np.percentile(v[v > 0], 99) if (v > 0).any() else v, 0, 1)
            for v in (ground.data[0, :, :, level], resample(pose, grid, fill=0.0).data[0, :, :, level])
        )
        axis.imshow(np.where(board, one, other).T, origin="lower", cmap="gray")
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reference", default="")
    words = parser.parse_args()
    print(run(words.dataset, words.out, words.reference))
