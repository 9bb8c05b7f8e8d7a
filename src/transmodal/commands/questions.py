"""Commands that ask what a score does not say: agreement, overlap, lesions."""

from dataclasses import dataclass, field
from pathlib import Path

from transmodal.commands.voice import Speak, Voice, Words


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
        from transmodal.experiment.agreement import agreement

        print(agreement(
            self.volumes, self.out, labels=self.labels, names=self.names, mask=self.mask, target=self.target,
            group=self.group, table=self.table, lesion=self.lesion,
        ))  # fmt: skip
