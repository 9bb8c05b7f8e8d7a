"""Commands that ask what a score does not say: robustness, agreement, overlap, lesions, probe."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from transmodal.commands.voice import Speak, Voice, Words


@dataclass(frozen=True)
class Robustness:
    """Judge runs again on their test cases with the sources moved against each other."""

    runs: Words
    """Folders of runs, or NAME=FOLDER; those with one name are folds of one method."""
    out: Path = field(kw_only=True)
    """Folder for robustness.csv, .md, .png, and offsets.csv."""
    kind: Literal["translation", "subvoxel", "rotation", "scaling", "warp"] = "translation"
    """In whole voxels, in fractions of a voxel, in degrees, in percent, in mm."""
    sizes: tuple[float, ...] = (0, 1, 2, 4)
    """The largest motion of every point of the curve."""
    moved: tuple[str, ...] = ()
    """Which sources; by default all but the first."""
    draws: int = 3
    """Motions of each case and size."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.questions.robustness import robustness

        print(robustness(
            self.runs, self.out, kind=self.kind, sizes=self.sizes, moved=self.moved, draws=self.draws,
            device=self.device,
        ))  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """Region by region: do synthetic and measured means agree?"""

    volumes: Words
    """PREDICTIONS REFERENCES, two folders of volumes; or what train or evaluate wrote, or NAME=FOLDER."""
    out: Path = field(kw_only=True)
    """Folder for agreement.html, .md, .json, .csv, regions.csv, recognition.csv, effects.csv."""
    labels: Path | None = None
    """Label maps; by default those of the dataset, else only the mask is looked at."""
    names: Path | None = None
    """Names of labels: a table with the columns index and name (a BIDS dseg.tsv)."""
    mask: Path | None = None
    """A mask, or a folder of masks, for two folders of volumes."""
    target: str | None = None
    """Modality, for its unit and where the reference holds several: CT, FA …"""
    group: str | None = None
    """A column of the dataset's table: groups such as sex, or a number such as age."""
    table: Path | None = None
    """Another table with that column."""
    lesion: tuple[int, ...] = ()
    """Labels that are lesions: adds lesion, healthy rest, and the contrast of lesions."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.questions.agreement import agreement

        print(agreement(
            self.volumes, self.out, labels=self.labels, names=self.names, mask=self.mask, target=self.target,
            group=self.group, table=self.table, lesion=self.lesion,
        ))  # fmt: skip


@dataclass(frozen=True)
class Lesions:
    """Insert lesions into held-out scans: how much of their contrast survives?"""

    runs: Words
    """Folders of runs, or NAME=FOLDER; those with one name are folds of one method."""
    out: Path | None = None
    """Folder for lesions.html, .md, .json, .csv; by default that of the only run."""
    diameters: tuple[float, ...] = (4.0, 8.0, 12.0)
    """In mm."""
    intensities: tuple[float, ...] = (0.25, 0.5, 1.0)
    """1: a full lesion in a phantom, three tenths of the source's window elsewhere."""
    count: int = 4
    """Lesions in each case."""
    within: tuple[int, ...] = ()
    """Labels of the tissue where they may lie; by default even tissue, in a phantom white matter."""
    paint: bool = False
    """Paint lesions into phantoms, too, instead of scanning them again."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.questions.lesions import lesions

        print(lesions(
            self.runs, self.out, diameters=self.diameters, intensities=self.intensities, count=self.count,
            within=self.within, paint=self.paint, device=self.device,
        ))  # fmt: skip


@dataclass(frozen=True)
class Overlap:
    """Does a segmenter find in synthetic scans what it finds in measured ones?"""

    synthetic: Positional[Path]
    """Its label maps of synthetic scans: a folder of <case>.nii.gz."""
    real: Positional[Path]
    """Its label maps of the measured scans of the same cases."""
    out: Path = field(kw_only=True)
    """Folder for overlap.html, .md, .json, .csv."""
    truth: Path | None = None
    """Labels drawn by hand: both are compared with them, instead of with each other."""
    names: Path | None = None
    """Names of labels: a table with the columns index and name (a BIDS dseg.tsv)."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.questions.overlap import overlap

        print(overlap(self.synthetic, self.real, self.out, truth=self.truth, names=self.names))


@dataclass(frozen=True)
class Probe:
    """Look inside a trained mrnet: frequencies of its encoder's features, and what its masks do."""

    runs: Words
    """Folders of runs: folds of one recipe, whose test cases are pooled."""
    out: Path = field(kw_only=True)
    """Folder for probe.md, spectra.csv, masks.csv, worth.csv, readings.csv and their charts."""
    slices: int = 8
    """Of each test case, evenly spaced."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.questions.probe import probe

        print(probe(self.runs, self.out, slices=self.slices, device=self.device))
