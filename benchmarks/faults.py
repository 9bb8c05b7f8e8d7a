"""Planted faults: how many of each kind the audit finds on phantom heads, and how often it cries wolf.

    python benchmarks/faults.py --out OUT [--heads 10]

Each kind of fault is planted in every head of a cohort, in half of them at a time (one at a time for what is found
by comparing heads), and the audit of that cohort is read: found is the fault's kind on that case; a false alarm is
any finding on a head that nobody touched. Images are registered to each other where the kind needs it, and in the
first row. Shifts are also measured: the largest difference from the truth, in voxels. Printed as Markdown.
"""

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from transmodal import progress
from transmodal.checks.audit import audit
from transmodal.checks.finding import KINDS
from transmodal.data.motion import Motion, misalign
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.data.volume import read_volume, write_volume

CONTRASTS = ("T1w", "T2w", "FA", "CT")
VOXEL = 3.6
Plant = Callable[[Path, Path, np.random.Generator], float | None]
"""(folder of the case, folder of another) → the shift in voxels, where that is the fault."""


def changed(path: Path, change: Callable[[np.ndarray], np.ndarray], dtype: type = np.float32) -> None:
    image = nib.load(path)
    data = change(np.asarray(image.dataobj, dtype=np.float32))
    nib.save(nib.Nifti1Image(data.astype(dtype), image.affine), path)


def truncated(case: Path, other: Path, rng: np.random.Generator) -> None:
    path = case / "T2w.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def not_a_number(case: Path, other: Path, rng: np.random.Generator) -> None:
    def change(data: np.ndarray) -> np.ndarray:
        data[tuple(rng.integers(10, 40, 3))] = np.nan
        return data

    changed(case / "T2w.nii.gz", change)


def constant(case: Path, other: Path, rng: np.random.Generator) -> None:
    changed(case / "T2w.nii.gz", lambda data: np.full_like(data, 7.0))


def clipped(case: Path, other: Path, rng: np.random.Generator) -> None:
    def change(data: np.ndarray) -> np.ndarray:
        inside = data[data > np.percentile(data, 60)]
        return np.minimum(data, np.percentile(inside, rng.uniform(90, 98)))

    changed(case / "T2w.nii.gz", change)


def quantised(case: Path, other: Path, rng: np.random.Generator) -> None:
    changed(case / "T2w.nii.gz", lambda data: np.clip(data / data.max() * 255, 0, 255), np.uint8)


def raw_ct(case: Path, other: Path, rng: np.random.Generator) -> None:
    changed(case / "CT.nii.gz", lambda data: np.maximum(data + 1024, 0), np.int16)


def scaled_fa(case: Path, other: Path, rng: np.random.Generator) -> None:
    changed(case / "FA.nii.gz", lambda data: data * 1000)


def another_grid(case: Path, other: Path, rng: np.random.Generator) -> None:
    path = case / "T2w.nii.gz"
    image = nib.load(path)
    data = np.asarray(image.dataobj)[..., ::2]
    nib.save(nib.Nifti1Image(data, image.affine @ np.diag([1.0, 1.0, 2.0, 1.0])), path)


def nowhere(case: Path, other: Path, rng: np.random.Generator) -> None:
    path = case / "T2w.nii.gz"
    image = nib.load(path)
    blank = nib.Nifti1Image(np.asarray(image.dataobj), None)
    blank.header.set_zooms(image.header.get_zooms())
    nib.save(blank, path)


def far_header(case: Path, other: Path, rng: np.random.Generator) -> None:
    path = case / "T2w.nii.gz"
    image = nib.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += 200 * rng.choice((-1, 1), 3)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)


def shifted(case: Path, other: Path, rng: np.random.Generator) -> float:
    direction = rng.normal(size=3)
    voxels = rng.uniform(0.5, 4.0)
    x, y, z = direction / np.linalg.norm(direction) * voxels * VOXEL
    path = case / "T2w.nii.gz"
    moved = misalign(read_volume(path), Motion(translation_mm=(float(x), float(y), float(z))), order=3)
    write_volume(moved, path)
    return float(voxels)


def flipped(case: Path, other: Path, rng: np.random.Generator) -> None:
    changed(case / "T2w.nii.gz", lambda data: data[::-1])


def copied(case: Path, other: Path, rng: np.random.Generator) -> None:
    """Saved again in other units and with noise, so that no byte is the same."""
    for contrast in CONTRASTS:
        shutil.copy(other / f"{contrast}.nii.gz", case / f"{contrast}.nii.gz")
        factor = 1.7 if contrast.endswith("w") else 1.0
        changed(case / f"{contrast}.nii.gz", lambda d, f=factor: np.clip(
            d * f + rng.normal(0, 0.002 * d.max(), d.shape), d.min(), 1.0 if d.max() <= 1 else None
        ))  # fmt: skip


def another_sequence(case: Path, other: Path, rng: np.random.Generator) -> None:
    """A T1w scan under the name T2w, in other units and with other noise."""
    data = np.asarray(nib.load(case / "T1w.nii.gz").dataobj, dtype=np.float32)
    changed(case / "T2w.nii.gz", lambda _: 1.3 * data + rng.normal(0, 0.01 * data.max(), data.shape))


PAIRS = ("grid", "field of view", "misaligned", "flip")
"""Kinds that need the images of a case side by side."""


@dataclass(frozen=True)
class Fault:
    """A fault and the kind that the audit should call it."""

    words: str
    kind: str
    plant: Plant


FAULTS = (
    Fault("truncated file", "unreadable", truncated),
    Fault("a voxel that is not a number", "unreadable", not_a_number),
    Fault("constant image", "constant", constant),
    Fault("clipped at the top", "clipped", clipped),
    Fault("rounded to 8 bits", "quantised", quantised),
    Fault("CT without its offset", "units", raw_ct),
    Fault("FA in thousandths", "units", scaled_fa),
    Fault("qform and sform codes 0", "geometry", nowhere),
    Fault("another voxel size", "grid", another_grid),
    Fault("header far away", "field of view", far_header),
    Fault("shift of 0.5 to 4 voxels", "misaligned", shifted),
    Fault("mirrored left for right", "flip", flipped),
    Fault("one person under two names", "duplicate", copied),
    Fault("T1w under the name T2w", "outlier", another_sequence),
)


def main(out: Path, heads: int, faults: tuple[Fault, ...] = FAULTS) -> str:
    settings = PhantomSettings(subjects=heads, size=(60, 60, 60), spacing=VOXEL, contrasts=CONTRASTS)
    cohort = write_cohort(out / "cohort", settings)
    lines = ["| planted | kind | found | false alarms | measured to (voxels) |", "|---|---|---:|---:|---:|"]
    untouched = audit(cohort, out / "untouched")
    lines.append(f"| nothing | | | {len(untouched.findings)} of {heads * len(CONTRASTS)} images | |")
    for fault in faults:
        lines.append(row(fault, cohort, out, heads))
        print(lines[-1], flush=True)
    assert {fault.kind for fault in FAULTS} | {"dataset"} == set(KINDS)
    text = "\n".join(lines) + "\n"
    (out / "faults.md").write_text(text)
    return text


def row(fault: Fault, cohort: Path, out: Path, heads: int) -> str:
    """Every head gets the fault, but half of the cohort at a time, so that there is something to differ from."""
    names = [f"sub-{number + 1:03d}" for number in range(heads)]
    found, wrong, images, errors = 0, 0, 0, []
    rare = fault.kind in ("outlier", "duplicate")
    for part in [[name] for name in names] if rare else [names[::2], names[1::2]]:
        work = out / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(cohort, work)
        truth = {}
        for name in part:
            other = names[(names.index(name) + 1) % heads]
            rng = np.random.default_rng([names.index(name), *fault.words.encode()])
            truth[name] = fault.plant(work / name, work / other, rng)
        seen = audit(work, out / "audit", pairs=fault.kind in PAIRS)
        about = {(f.case, f.kind) for f in seen.findings}
        if fault.kind == "duplicate":
            pairs = {f.case for f in seen.findings if f.kind == "duplicate"}
            partner = {names[(names.index(name) + 1) % heads] for name in part}
            found += bool(pairs & {*part, *partner})
            touched = {*part, *partner}
        else:
            found += sum((name, fault.kind) in about for name in part)
            touched = set(part)
        wrong += len({(f.case, f.modality) for f in seen.findings if f.case not in touched})
        images += (heads - len(touched)) * len(CONTRASTS)
        measured = {r.case: r.shift_voxels for r in seen.residuals if r.modality == "T2w"}
        errors += [abs(measured[name] - shift) for name, shift in truth.items() if shift is not None]
    largest = f"{max(errors):.2f}" if errors else ""
    return f"| {fault.words} | {fault.kind} | {found} of {heads} | {wrong} of {images} images | {largest} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--heads", type=int, default=10)
    given = parser.parse_args()
    progress.use("silent")
    print(main(given.out, given.heads))
