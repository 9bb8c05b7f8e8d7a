"""Datasets for the recipes *_fa (T1w, FA), *_pd (T1w, T2w, PDw), *_phantom (colours), mrnet_tiny and *_scct (CT).

    python benchmarks/datasets.py phantom OUT                 *_fa: twelve random phantom heads
    python benchmarks/datasets.py heads OUT LABELS            *_fa: simulated on label maps of real heads, 2.3 mm
    python benchmarks/datasets.py slabs OUT TEMPLATES         *_fa: slabs of the MNI152 T1w and the registered FA
    python benchmarks/datasets.py contrasts OUT               *_pd: twelve random phantom heads with lesions
    python benchmarks/datasets.py colours OUT                 *_phantom: twelve, T1w bent off the section by 6 mm
    python benchmarks/datasets.py finecolours OUT             *_phantom: slabs of them, 256 × 256 voxels of 0.85 mm
    python benchmarks/datasets.py judge OUT                   segmentation_phantom: twelve other heads
    python benchmarks/datasets.py colourheads OUT LABELS      *_phantom: the same on label maps of real heads, 3 mm
    python benchmarks/datasets.py pd OUT TEMPLATES            *_pd: slabs of the MNI152 averages avg152
    python benchmarks/datasets.py ct OUT                      mrnet_tiny: twelve random phantom heads
    python benchmarks/datasets.py ctheads OUT LABELS          mrnet_tiny: on label maps of real heads, 2.3 mm
    python benchmarks/datasets.py scct OUT TEMPLATES          *_scct: slabs of avg152T1 and the CT average scct

A template is a population average, not a person: its slabs, apart by a gap, are the cases. Nothing learnt from one
average says how a method does on people. scct is an average of other, older people than avg152T1 is, smooth by 8
mm, and was made in Cormack units, which are not linear in HU: mapped back, it is what that average stands for, and
no CT.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from transmodal.data.foreground import foreground
from transmodal.data.geometry import crop, resample
from transmodal.data.grid import Grid
from transmodal.data.motion import Motion, misalign
from transmodal.data.phantom.anatomy import anatomy_from_labels
from transmodal.data.phantom.cohort import PhantomSettings, subject, write_cohort
from transmodal.data.phantom.physics import simulate, stored_as
from transmodal.data.volume import Volume, read_volume, write_volume
from transmodal.shapes import Mask

TEMPLATES = {
    "slabs": {"T1w": "MNI152_T1_2mm", "FA": "MNI_FA_2mm_registered", "mask": "brainmask"},
    "pd": {"T1w": "avg152T1", "T2w": "avg152T2", "PDw": "avg152PD", "mask": "brainmask"},
    "scct": {"T1w": "avg152T1", "CT": "scct"},
}
"""Which files make a dataset of slabs."""

BENT = Motion(warp_mm=6.0)
"""How far the MRI of *_phantom is off its section: as much as a body that was frozen in another pose."""

SLABS, GAP = 4, 4
"""How many slabs a template is cut into, and the slices left out between two."""


def phantom(out: Path) -> None:
    write_cohort(out, PhantomSettings(subjects=12, contrasts=("T1w", "FA", "T2w"), lesions=2))


def contrasts(out: Path) -> None:
    write_cohort(out, PhantomSettings(subjects=12, contrasts=("T1w", "T2w", "PDw"), lesions=12))


def colours(out: Path, seed: int = 0) -> None:
    settings = PhantomSettings(
        subjects=12,
        size=(64, 64, 64),
        spacing=3.4,
        contrasts=("T1w", "cryo"),
        seed=seed,
        mask="head",
        motion={"T1w": BENT},
    )
    write_cohort(out, settings)


def finecolours(out: Path) -> None:
    """The middle of whole heads, a minute each: one that is drawn in a slab is as small as the slab is high."""
    settings = PhantomSettings(12, (256, 256, 256), 0.85, ("T1w", "cryo"), mask="head", motion={"T1w": BENT})
    for number in range(settings.subjects):
        whole = subject(number, settings)
        grid = crop(whole["mask"].grid, ((0, 256), (0, 256), (104, 152)))
        part = {name: resample(volume, grid) for name, volume in whole.items()}
        images = {name: part[name] for name in settings.contrasts}
        write_head(out / f"sub-{number + 1:03d}", images, part["mask"].data[0] > 0, part["labels"])
    write_table(out, (*settings.contrasts, "mask", "labels"))


def judge(out: Path) -> None:
    """Heads that are in no table, so that a frozen segmenter has never seen one it helps to score."""
    colours(out, seed=1)


def ct(out: Path) -> None:
    write_cohort(out, PhantomSettings(subjects=12, contrasts=("T1w", "CT"), mask="head"))


def heads(out: Path, labels: Path) -> None:
    """T1w, T2w and FA by the phantom's physics on every second voxel of each label map."""
    contrasts = ("T1w", "FA", "T2w")
    for number, (name, codes) in enumerate(label_maps(labels, 2)):
        anatomy = anatomy_from_labels(codes)
        images = {c: simulate(anatomy, c, seed=number) for c in contrasts}
        write_head(out / name, images, anatomy.brain(), codes)
    write_table(out, (*contrasts, "mask", "labels"))


def colourheads(out: Path, labels: Path) -> None:
    """T1w and cryosection on every third voxel of each label map; labels are the phantom's tissues."""
    for number, (name, codes) in enumerate(label_maps(labels, 3)):
        anatomy = anatomy_from_labels(codes)
        images = {c: simulate(anatomy, c, seed=number) for c in ("T1w", "cryo")}
        images["T1w"] = misalign(images["T1w"], replace(BENT, seed=number))
        tissues = Volume(anatomy.labels[None].astype(np.int32), anatomy.grid, "labels")
        write_head(out / name, images, anatomy.head(), tissues)
    write_table(out, ("T1w", "cryo", "mask", "labels"))


def ctheads(out: Path, labels: Path) -> None:
    """T1w and CT on every second voxel of each label map; labels are the phantom's tissues."""
    contrasts = ("T1w", "CT")
    for number, (name, codes) in enumerate(label_maps(labels, 2)):
        anatomy = anatomy_from_labels(codes)
        images = {c: simulate(anatomy, c, seed=number) for c in contrasts}
        tissues = Volume(anatomy.labels[None].astype(np.int32), anatomy.grid, "labels")
        write_head(out / name, images, anatomy.head(), tissues)
    write_table(out, (*contrasts, "mask", "labels"))


def label_maps(folder: Path, step: int) -> Iterator[tuple[str, Volume]]:
    """Name and codes of every label map, of every ``step``-th voxel."""
    for path in sorted(folder.glob("*.nii.gz")):
        yield path.name.split(".")[0], coarse(read_volume(path, label=True).canonical(), step)


def write_head(folder: Path, images: Mapping[str, Volume], mask: Mask, labels: Volume) -> None:
    for name, image in images.items():
        write_volume(image, folder / f"{name}.nii.gz", dtype=stored_as(name))
    write_volume(Volume(mask[None].astype(np.uint8), labels.grid, "mask"), folder / "mask.nii.gz", dtype="uint8")
    write_volume(labels, folder / "labels.nii.gz", dtype="int16")


def write_table(out: Path, columns: Sequence[str]) -> None:
    """``cases.tsv`` of the folders that are there."""
    names = sorted(path.name for path in out.iterdir() if path.is_dir())
    rows = ["\t".join([name, *(f"{name}/{column}.nii.gz" for column in columns)]) for name in names]
    (out / "cases.tsv").write_text("\n".join(["\t".join(["case", *columns]), *rows]) + "\n")


def coarse(volume: Volume, step: int) -> Volume:
    affine = volume.affine.copy()
    affine[:3, :3] *= step
    data = volume.data[:, ::step, ::step, ::step]
    return Volume(data, Grid((data.shape[1], data.shape[2], data.shape[3]), affine), volume.name)


def cormack_to_hu(values: np.ndarray) -> np.ndarray:
    """Cormack units, which stretch soft tissue eleven times, in HU.

    The scale of Rorden et al. (2012), https://doi.org/10.1016/j.neuroimage.2012.03.020, as the toolbox Clinical
    inverts it: the lowest 900 units begin at -1024 HU, the next 2200 are 200 HU, and the rest counts as it is.
    """
    dark, wide, stretch = 900.0, 200.0, 11.0
    return values.clip(max=dark) + ((values - dark) / stretch).clip(0, wide) + (
        values - dark - wide * stretch
    ).clip(min=0) - 1024  # fmt: skip


def scct(out: Path, templates: Path) -> None:
    """T1w and CT in HU of the whole head: all of the average that is denser than fat and air, without holes."""
    volumes = read(templates, TEMPLATES["scct"])
    ct = volumes["CT"]
    volumes["CT"] = Volume(cormack_to_hu(ct.data).astype(np.float32), ct.grid, "CT")
    inside = foreground(volumes["CT"])
    volumes["mask"] = Volume(inside[None].astype(np.float32), ct.grid, "mask")
    cut(out, volumes)


def slabs(out: Path, templates: Path, files: Mapping[str, str] = TEMPLATES["slabs"]) -> None:
    cut(out, read(templates, files))


def read(templates: Path, files: Mapping[str, str]) -> dict[str, Volume]:
    return {name: read_volume(templates / f"{file}.nii.gz").canonical() for name, file in files.items()}


def cut(out: Path, volumes: Mapping[str, Volume]) -> None:
    """Slabs of the mask's slices, a case each."""
    grid = volumes["T1w"].grid
    if not all(volume.grid.same_as(grid) for volume in volumes.values()):
        raise SystemExit("the templates are not on one grid")
    inside = volumes["mask"].data[0] > 0.5
    levels = np.flatnonzero(inside.any(axis=(0, 1)))
    edges = np.linspace(levels[0], levels[-1] + 1, SLABS + 1).round().astype(int)
    rows = ["\t".join(["case", *volumes])]
    for number, (low, high) in enumerate(pairwise(edges)):
        first, last = low + GAP // 2 * (number > 0), high - GAP // 2 * (number < SLABS - 1)
        affine = grid.affine.copy()
        affine[:3, 3] += affine[:3, 2] * first
        cut = Grid((grid.shape[0], grid.shape[1], int(last - first)), affine)
        name = f"slab-{number + 1}"
        for kind, volume in volumes.items():
            data = inside[None] if kind == "mask" else volume.data
            part = Volume(data[..., first:last].astype(np.float32), cut, kind)
            write_volume(part, out / name / f"{kind}.nii.gz", dtype="uint8" if kind == "mask" else "float32")
        rows.append("\t".join([name, *(f"{name}/{kind}.nii.gz" for kind in volumes)]))
    (out / "cases.tsv").write_text("\n".join(rows) + "\n")


DRAWN = {"phantom": phantom, "contrasts": contrasts, "colours": colours, "finecolours": finecolours,
         "judge": judge, "ct": ct}  # fmt: skip
"""What is made from nothing."""

ON_LABELS = {"heads": heads, "colourheads": colourheads, "ctheads": ctheads}
"""What is simulated on label maps."""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*DRAWN, *ON_LABELS, *TEMPLATES))
    parser.add_argument("out", type=Path)
    parser.add_argument("source", type=Path, nargs="?")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.what in DRAWN:
        DRAWN[given.what](given.out)
    elif given.source is None:
        parser.error(f"{given.what} needs the folder of its source")
    elif given.what in ON_LABELS:
        ON_LABELS[given.what](given.out, given.source)
    elif given.what == "scct":
        scct(given.out, given.source)
    else:
        slabs(given.out, given.source, TEMPLATES[given.what])
