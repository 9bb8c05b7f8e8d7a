"""Cohort: a folder of phantom subjects that looks like any other dataset."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from transmodal.data.files import write_json, write_text
from transmodal.data.motion import Motion, misalign
from transmodal.data.phantom.anatomy import random_anatomy
from transmodal.data.phantom.physics import CONTRASTS, simulate, stored_as
from transmodal.data.volume import Volume, write_volume
from transmodal.data.workers import mapper
from transmodal.errors import RecipeError, nearest
from transmodal.progress import track


@dataclass(frozen=True)
class PhantomSettings:
    """What a cohort is like.

    Attributes:
        subjects: how many.
        size: voxels along X, Y, Z.
        spacing: edge of a voxel in mm.
        contrasts: which images.
        seed: of everything; subject k is the same in a cohort of any size.
        lesions: most lesions of a subject; each has from 0 to that many.
        noise: see :func:`~.physics.simulate`.
        bias: see :func:`~.physics.simulate`.
        motion: contrast → how its content is moved away from the other images.
        jitter_mm: standard deviation of a random further shift of the contrasts named in ``motion``.
        missing: chance that an image of a subject was never taken; the first contrast always was.
        mask: ``brain`` or ``head``.
    """

    subjects: int = 8
    size: tuple[int, int, int] = (96, 96, 96)
    spacing: float = 2.3
    contrasts: tuple[str, ...] = CONTRASTS
    seed: int = 0
    lesions: int = 0
    noise: float = 0.02
    bias: float = 0.1
    motion: Mapping[str, Motion] = field(default_factory=dict)
    jitter_mm: float = 0.0
    missing: float = 0.0
    mask: str = "brain"

    def __post_init__(self) -> None:
        if self.subjects < 1:
            raise RecipeError(f"phantom subjects = {self.subjects}: give at least 1")
        for name in (*self.contrasts, *self.motion):
            if name not in CONTRASTS:
                raise RecipeError(f"phantom contrast {name!r}{nearest(name, CONTRASTS)}")
        if not self.contrasts:
            raise RecipeError(f"phantom contrasts: name at least one of {', '.join(CONTRASTS)}")
        if min(self.size) < 16 or not self.spacing > 0:
            raise RecipeError(
                f"phantom size = {list(self.size)}, spacing = {self.spacing}: at least 16 voxels, above 0 mm"
            )
        if not (self.noise >= 0 and 0 <= self.bias < 1):
            raise RecipeError(f"phantom noise = {self.noise}, bias = {self.bias}: 0 or more, and 0 to below 1")
        if min(self.lesions, self.seed) < 0 or not self.jitter_mm >= 0:
            raise RecipeError("phantom lesions, seed and jitter_mm: give 0 or more")
        if not 0 <= self.missing < 1:
            raise RecipeError(f"phantom missing = {self.missing}: a chance from 0 to below 1")
        if self.mask not in ("brain", "head"):
            raise RecipeError(f"phantom mask = {self.mask!r}: brain or head")


@dataclass(frozen=True)
class Plan:
    """What chance decided for one subject: the truth that a test may ask for.

    Attributes:
        seed: of anatomy and images.
        lesions: how many were asked for.
        missing: contrasts that were never taken.
        motion: contrast → how its content was moved.
    """

    seed: int
    lesions: int
    missing: tuple[str, ...]
    motion: Mapping[str, Motion]


def plan(number: int, settings: PhantomSettings) -> Plan:
    """The plan of subject ``number``; the same in a cohort of any size."""
    own = settings.seed * 100_003 + number
    rng = np.random.default_rng([own, 6])
    lesions = int(rng.integers(0, settings.lesions + 1))
    missing, moved = [], {}
    for contrast in settings.contrasts:
        absent, shift = rng.random() < settings.missing, rng.normal(0, 1, 3) * settings.jitter_mm
        if absent and contrast != settings.contrasts[0]:
            missing.append(contrast)
        elif contrast in settings.motion:
            motion = settings.motion[contrast]
            x, y, z = (float(v) for v in np.asarray(motion.translation_mm) + shift)
            moved[contrast] = replace(motion, translation_mm=(x, y, z), seed=motion.seed + own)
    return Plan(own, lesions, tuple(missing), moved)


def subject(number: int, settings: PhantomSettings) -> dict[str, Volume]:
    """All volumes of one subject, with ``mask`` and ``labels``; contrasts that are missing are left out."""
    own = plan(number, settings)
    anatomy = random_anatomy(settings.size, settings.spacing, seed=own.seed, lesions=own.lesions)
    volumes: dict[str, Volume] = {}
    for contrast in settings.contrasts:
        if contrast not in own.missing:
            volume = simulate(anatomy, contrast, seed=own.seed, noise=settings.noise, bias=settings.bias)
            volumes[contrast] = misalign(volume, own.motion.get(contrast, Motion()))
    region = anatomy.brain() if settings.mask == "brain" else anatomy.head()
    volumes["mask"] = Volume(region[None].astype(np.int32), anatomy.grid, "mask")
    volumes["labels"] = Volume(anatomy.labels[None].astype(np.int32), anatomy.grid, "labels")
    return volumes


def write_cohort(out: Path, settings: PhantomSettings, *, workers: int = 2) -> Path:
    """Write ``sub-001/T1w.nii.gz`` …, ``mask``, ``labels``, ``cases.tsv``, ``phantom.json`` and ``truth.json``.

    Args:
        out: the folder.
        settings: what the cohort is like.
        workers: processes; the files do not depend on their number.

    Returns:
        ``out``.
    """
    names = [f"sub-{number + 1:03d}" for number in range(settings.subjects)]
    with mapper(min(workers, settings.subjects)) as run:
        jobs = [(out / name, number, settings) for number, name in enumerate(names)]
        found = list(track(run(_write_subject, jobs), "phantom", total=len(jobs)))
    columns = [*settings.contrasts, "mask", "labels"]
    truth = {name: plan(number, settings) for number, name in enumerate(names)}
    lines = ["\t".join(["case", *columns, "lesion_count"])]
    for name, there in zip(names, found, strict=True):
        files = [f"{name}/{c}.nii.gz" if c in there else "n/a" for c in columns]
        lines.append("\t".join([name, *files, str(truth[name].lesions)]))
    write_json(out / "truth.json", {name: asdict(own) for name, own in truth.items()})
    write_text(out / "cases.tsv", "\n".join(lines) + "\n")
    write_json(out / "phantom.json", asdict(settings))
    return out


def _write_subject(job: tuple[Path, int, PhantomSettings]) -> list[str]:
    folder, number, settings = job
    volumes = subject(number, settings)
    for name, volume in volumes.items():
        dtype = "uint8" if name in ("mask", "labels") else stored_as(name)
        write_volume(volume, folder / f"{name}.nii.gz", dtype=dtype, description=f"SYNTHETIC phantom {name}")
    return list(volumes)
