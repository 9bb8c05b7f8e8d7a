"""Commands about data: what is wrong with them, a recipe for them, and bringing them to one grid."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from transmodal.commands.voice import Speak, Voice, Words


@dataclass(frozen=True)
class Audit:
    """Say what is wrong with a dataset before any training; ends with 3 if something must be repaired."""

    dataset: Positional[Path]
    """A folder of cases, or a TSV/CSV with one row per case."""
    out: Path = field(kw_only=True)
    """Folder for audit.html and audit.json."""
    fast: bool = False
    """Do not register the images of a case: finds no shifts and no mirrored images."""
    entities: tuple[str, ...] = ()
    """Of BIDS names, such as run-1: which file to take where several are one modality of a case."""
    workers: int = 0
    """Processes; 0 for one a core."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.checks.audit import audit
        from transmodal.data.workers import cores
        from transmodal.errors import InputError

        found = audit(
            self.dataset, self.out, workers=self.workers or cores(), pairs=not self.fast, entities=self.entities
        )
        for finding in found.findings:
            print(f"{finding.severity}: {finding.kind}: {finding.message}")
        page = self.out / "audit.html"
        if found.errors:
            raise InputError(f"{found.errors} findings must be repaired before training; see {page}")
        print(page)


@dataclass(frozen=True)
class Plan:
    """Propose a complete recipe for a dataset, this machine and a time, with a reason for every choice."""

    dataset: Positional[Path]
    """A folder of cases, a BIDS root, or a TSV/CSV with one row per case."""
    out: Path = field(kw_only=True)
    """The recipe to write: RECIPE.toml."""
    sources: tuple[str, ...] = ()
    """Modalities that go in; chosen if not given."""
    targets: tuple[str, ...] = ()
    """Modalities to make; chosen if not given."""
    entities: tuple[str, ...] = ()
    """Of BIDS names, such as run-1: which file to take where several are one modality of a case."""
    method: str = "regression"
    """One of those that `transmodal list` shows."""
    minutes: float = 60.0
    """Of training, for one fold."""
    memory: float = 0.0
    """Gigabytes that training may take; 0 for half of what is free."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    force: bool = False
    """Replace a recipe that exists."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.experiment.plan import plan

        print(plan(
            self.dataset, self.out, sources=self.sources, targets=self.targets, entities=self.entities,
            method=self.method, minutes=self.minutes, memory=self.memory, device=self.device, force=self.force,
        ), end="")  # fmt: skip


@dataclass(frozen=True)
class Import:
    """Make a dataset of one body that was scanned, frozen, cut and photographed, from its published files."""

    source: Positional[Literal["visible-human", "visible-korean"]]
    """Whose files they are; docs/bodies.md says how they have to lie."""
    tree: Positional[Path]
    """Their folder."""
    settings: Words = ()
    """key=value: axes=LP mri_axes=LP mri_pixel=0.9375 regions=["head"] shrink=3, or mri=T1w name=vkh-male"""
    out: Path = field(kw_only=True)
    """Folder of the dataset to write."""
    force: bool = False
    """Replace a body that was imported there before."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.data.bodies.sources import import_body
        from transmodal.schema import override

        for line in import_body(self.source, self.tree, override({}, self.settings), self.out, force=self.force):
            print(line)


@dataclass(frozen=True)
class Prepare:
    """Bring every case of a dataset to one grid, fit intensities, write memory-mappable cases."""

    dataset: Positional[Path]
    """A folder of cases, or a TSV/CSV with one row per case."""
    settings: Words = ()
    """key=value, as in the recipe's [data.prepare]: spacing=2 mask=labels register=rigid exclude=["sub-03"]"""
    out: Path = field(kw_only=True)
    """Folder to write."""
    workers: int = 0
    """Processes; 0 for one a core."""
    mask_tool: str = ""
    """Program for the mask of cases that have none: "mri_synthstrip -i {image} -m {mask}"."""
    scheduler: str = ""
    """Let a Dask cluster work: tcp://HOST:8786, or local; docs/cluster.md."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.data.bring import PrepareSettings
        from transmodal.data.prepare import prepare
        from transmodal.data.workers import cores
        from transmodal.schema import make, override

        prepared = prepare(
            self.dataset, self.out, make(PrepareSettings, override({}, self.settings), "data.prepare"),
            workers=self.workers or cores(), mask_tool=self.mask_tool, scheduler=self.scheduler,
        )  # fmt: skip
        print(f"{len(prepared.names)} cases prepared in {self.out}")
