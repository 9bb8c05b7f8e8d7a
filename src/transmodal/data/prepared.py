"""Prepared: the folder that ``prepare`` makes and training reads.

::

    OUT/dataset.json        settings, names of the cases
    OUT/fingerprint.json    what the cohort looks like
    OUT/splits.json         who is in which fold
    OUT/cases/NAME/case.json, <modality>.nii, mask.nii, labels.nii

Volumes are uncompressed NIfTI: any viewer opens them, and they are memory-mapped, so a slice costs no decoding.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from transmodal.data.box import Box, bounds
from transmodal.data.bring import Brought, PrepareSettings
from transmodal.data.case_record import check_case
from transmodal.data.files import new_folder, read_json, write_json
from transmodal.data.grid import Grid
from transmodal.data.intensity import IntensityFit
from transmodal.data.layout import CaseFiles
from transmodal.data.limits import check_plain
from transmodal.data.names import can_be_file
from transmodal.data.record import as_written, fields_of
from transmodal.data.splits import Split, check_stored, fold
from transmodal.data.volume import Volume, write_volume
from transmodal.errors import InputError, nearest
from transmodal.shapes import Mask, Voxels

DATASET = "transmodal.dataset/1"
CASE = "transmodal.case/1"
_OFFSET = 352
"""Bytes before the voxels of a NIfTI-1 file without extensions."""
_SOME = 0.01
"""A slice counts when the mask has at least this share of its fullest slice there."""


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A prepared case; volumes are opened when asked for, and closed when their array is gone.

    Attributes:
        path: its folder.
        name: the case.
        subject: the person.
        split: the part the table puts it in, or None.
        facts: the table's other columns.
        grid: RAS+, of all its volumes.
        modalities: those it has, in the order of the settings.
        fits: modality → intensity fit.
        box: bounds of the mask along X, Y, Z: first voxel, one past the last.
        slices: for each axis, the indices of the slices in which the mask has some voxels.
        record: all of ``case.json``.
    """

    path: Path
    name: str
    subject: str
    split: str | None
    facts: dict[str, str]
    grid: Grid
    modalities: tuple[str, ...]
    fits: dict[str, IntensityFit]
    box: Box
    slices: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    record: dict[str, Any] = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> "PreparedCase":
        """Read ``case.json`` of the folder ``path``.

        Raises:
            InputError: it is missing, damaged or something else.
        """
        file = path / "case.json"
        stored = read_json(file)
        if not isinstance(stored, dict) or stored.get("format") != CASE:
            raise InputError(f"{path}: is not a prepared case of this version; run transmodal prepare again")
        with as_written(file, "prepare the dataset again"):
            known = check_case(stored, path.name)
            return cls(
                path=path,
                name=known["name"],
                subject=known["subject"],
                split=known["split"],
                facts=known["facts"],
                grid=known["grid"],
                modalities=tuple(known["modalities"]),
                fits={name: IntensityFit.from_dict(m["fit"]) for name, m in known["modalities"].items()},
                box=known["box"],
                slices=known["slices"],
                record=stored,
            )

    @property
    def masked(self) -> bool:
        """Whether its mask was given or drawn by a program, and not found by us as the foreground."""
        made = self.record["made_from"]
        drawn = "mask" in made["files"] or bool(made["mask_tool"])
        return drawn and made["settings"]["mask"] in ("auto", "given")

    def values(self, modality: str) -> Voxels:
        """Values in original units, memory-mapped, read-only: float32, or uint8 for colour.

        Raises:
            InputError: the case has no such modality, or the file was changed.
        """
        if modality not in self.modalities:
            raise InputError(f"case {self.name}: has no {modality}{nearest(modality, self.modalities)}")
        channels = self.record["modalities"][modality]["channels"]
        return self._mapped(modality, np.uint8 if channels == 3 else np.float32, channels)

    def mask(self) -> Mask:
        """Where voxels count, memory-mapped, read-only."""
        return self._mapped("mask", np.uint8, 1)[0].view(np.bool_)

    def file(self, name: str) -> Path:
        """The file of a modality, of the ``mask`` or of the ``labels``."""
        return self.path / f"{name}.nii"

    def labels(self) -> Integer[np.ndarray, "1 X Y Z"] | None:
        """The label map, memory-mapped, read-only; None if the case has none."""
        return self._mapped("labels", np.int16, 1) if self.record["labels"] else None

    def _mapped(self, name: str, kind: type[np.generic], channels: int) -> Voxels:
        path, shape = self.file(name), (channels, *self.grid.shape)
        try:
            check_plain(path)
            # NIfTI stores channel of a colour first, then X, Y, Z: Fortran order of (C, X, Y, Z).
            return np.memmap(path, dtype=kind, mode="r", offset=_OFFSET, shape=shape, order="F")
        except (OSError, ValueError) as problem:
            raise InputError(
                f"{path}: is missing or shorter than it was; prepare the dataset again ({problem})"
            ) from problem


@dataclass(frozen=True, eq=False)
class PreparedDataset:
    """A folder of prepared cases.

    Attributes:
        path: the folder.
        settings: how it was prepared, with modalities and reference filled in.
        names: its cases, in natural order.
    """

    path: Path
    settings: PrepareSettings
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: Path | str) -> "PreparedDataset":
        """Open the folder that ``prepare`` made.

        Raises:
            InputError: it is something else, or has no case.
        """
        path = Path(path)
        if not is_prepared(path):
            raise InputError(
                f"{path}: is not a prepared dataset; make one with: transmodal prepare DATASET --out {path}"
            )
        file = path / "dataset.json"
        with as_written(file, "prepare the dataset again"):
            kinds = {"names": tuple[str, ...], "settings": Mapping[str, Any]}
            stored = fields_of(read_json(file), kinds, "dataset")
            names, settings = stored["names"], PrepareSettings.from_dict(stored["settings"])
            if not all(map(can_be_file, names)) or len(set(names)) < len(names):
                raise ValueError("names that are no folders, or twice the same")
        if not names:
            raise InputError(f"{path}: holds no finished case; run transmodal prepare again")
        return cls(path, settings, names)

    def case(self, name: str) -> PreparedCase:
        """The case called ``name``.

        Raises:
            InputError: there is none.
        """
        if name not in self.names:
            raise InputError(f"{self.path}: has no case {name!r}{nearest(name, self.names)}")
        return PreparedCase.open(self.path / "cases" / name)

    def digest(self) -> str:
        """Digest of what its cases were made of and how, whose they are and where the table puts them.

        Equal wherever the folder lies; another scan, another setting or a further case changes it.
        """
        cases = [self.case(name) for name in self.names]
        content = [
            self.settings.to_dict(),
            [[case.name, case.subject, case.split, _content(case)] for case in cases],
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def split(self, number: int = 0, folds: int = 5, only: Sequence[str] | None = None) -> Split:
        """Fold ``number`` of ``folds``, of the cases named in ``only`` (None: all).

        ``splits.json`` remembers who is where (see :func:`.splits.fold`).
        """
        file = self.path / "splits.json"
        before = read_json(file) if file.exists() else None
        cases = [self.case(name) for name in self.names if only is None or name in only]
        check_stored(before, file)
        split, after = fold(cases, number, folds, stored=before)
        if after != before:
            write_json(file, after)
        return split


def _content(case: PreparedCase) -> list[Any]:
    """How a case was made, and the digests of the files that it was made of."""
    made = case.record["made_from"]
    files = {name: known["sha256"] for name, known in made.get("files", {}).items()}
    return [made.get("settings"), made.get("mask_tool"), files]


def is_prepared(path: Path) -> bool:
    """Whether ``path`` is a folder that ``prepare`` made, finished or not."""
    file = path / "dataset.json"
    if not file.is_file():
        return False
    stored = read_json(file)
    return isinstance(stored, dict) and stored.get("format") == DATASET


def write_dataset(path: Path, settings: PrepareSettings, names: list[str]) -> None:
    """Write ``dataset.json``."""
    write_json(path / "dataset.json", {"format": DATASET, "settings": settings.to_dict(), "names": names})


def write_case(path: Path, files: CaseFiles, brought: Brought, made_from: dict[str, Any]) -> None:
    """Write a case to the folder ``path``, whole or not at all; replaces what was there.

    Args:
        path: ``OUT/cases/NAME``.
        files: who it is.
        brought: what to write.
        made_from: whatever decides that it need not be made again.

    Raises:
        InputError: the mask is nowhere seen by all images, or labels do not fit 16 bits.
    """
    mask = brought.mask & brought.seen
    if not mask.any():
        raise InputError("no voxel of the mask lies in the field of view of all images; check the headers")
    if brought.labels is not None and np.abs(brought.labels).max() > np.iinfo(np.int16).max:
        raise InputError(
            f"{files.labels}: holds labels beyond ±32767, which the 16 bits of labels.nii cannot hold"
        )
    with new_folder(path) as folder:
        for name, image in brought.images.items():
            write_volume(image, folder / f"{name}.nii", dtype="rgb" if len(image.data) == 3 else "float32")
        write_volume(Volume(mask[None], brought.grid), folder / "mask.nii", dtype="uint8")
        if brought.labels is not None:
            write_volume(Volume(brought.labels, brought.grid), folder / "labels.nii", dtype="int16")
        write_json(folder / "case.json", _record(files, brought, mask, made_from))


def _record(files: CaseFiles, brought: Brought, mask: Mask, made_from: dict[str, Any]) -> dict[str, Any]:
    slices = []
    for axis in range(3):
        filled = mask.sum(axis=tuple(a for a in range(3) if a != axis))
        slices.append([int(i) for i in np.flatnonzero(filled >= max(1, _SOME * filled.max()))])
    modalities = {
        name: {
            "channels": len(image.data),
            "fit": brought.fits[name].to_dict(),
            "input": str(files.images[name]),
            "facts": brought.facts[name],
            **({"registered": brought.moved[name].to_dict()} if name in brought.moved else {}),
        }
        for name, image in brought.images.items()
    }
    return {
        "format": CASE,
        "name": files.name,
        "subject": files.subject,
        "split": files.split,
        "facts": files.facts,
        "grid": {"shape": list(brought.grid.shape), "affine": brought.grid.affine.tolist()},
        # Of the whole mask, as a new scan would have it, so that positions mean the same in training and use.
        "box": [list(ends) for ends in bounds(brought.mask)],
        "slices": slices,
        "modalities": modalities,
        "labels": brought.labels is not None,
        "made_from": made_from,
    }
