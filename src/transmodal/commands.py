"""The commands: small dataclasses whose fields are the options, with ``run()``; there is no logic here.

Slow imports happen inside ``run()``, so that ``--help`` answers at once. Data go to stdout, everything else
to stderr.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from transmodal import progress

Words = Positional[tuple[str, ...]]


@dataclass(frozen=True)
class Voice:
    """How a command speaks."""

    quiet: Annotated[bool, arg(aliases=["-q"], name="quiet")] = False
    """Say nothing but errors."""
    log_json: bool = False
    """Progress and messages as JSON lines on stderr."""

    def use(self) -> None:
        """Apply to this process."""
        progress.use("json" if self.log_json else "silent" if self.quiet else "human")


Speak = Annotated[OmitArgPrefixes[Voice], arg(name="")]


@dataclass(frozen=True)
class Demo:
    """Train on a digital phantom, synthesise held-out heads, judge and report. About two minutes on two cores."""

    out: Path = Path("demo")
    """Folder to write: report.html, evaluation.csv, synthesis/, model/."""
    seed: int = 0
    """Of the phantom and of the training."""
    force: bool = False
    """Replace what an earlier demo wrote there."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.experiment.demo import demo

        for line in demo(self.out, seed=self.seed, force=self.force):
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
    """Program for the mask of cases that have none: "hd-bet -i {image} -o {mask}"."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.data.bring import PrepareSettings
        from transmodal.data.prepare import prepare
        from transmodal.data.workers import cores
        from transmodal.schema import make, override

        prepared = prepare(
            self.dataset, self.out, make(PrepareSettings, override({}, self.settings), "data.prepare"),
            workers=self.workers or cores(), mask_tool=self.mask_tool,
        )  # fmt: skip
        print(f"{len(prepared.names)} cases prepared in {self.out}")


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
            self.dataset, self.out, sources=self.sources, targets=self.targets, method=self.method,
            minutes=self.minutes, memory=self.memory, device=self.device, force=self.force,
        ), end="")  # fmt: skip


@dataclass(frozen=True)
class Train:
    """Train a recipe's method, keep the best model, judge it and both floors on the held-out cases."""

    recipe: Positional[Path]
    """A TOML file; see recipes/."""
    settings: Words = ()
    """key=value words that override it: data.path=SCANS training.steps=500"""
    out: Path = field(kw_only=True)
    """Folder of the run: model/, last/, log.jsonl, evaluation.csv."""
    resume: bool = False
    """Go on with the run in --out as if it had never stopped."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    force: bool = False
    """Replace an earlier run in --out."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.data.workers import cores
        from transmodal.experiment.train import train
        from transmodal.recipe import load_recipe

        recipe = load_recipe(self.recipe, self.settings)
        print(train(
            recipe, self.out, resume=self.resume, device=self.device, force=self.force, workers=cores()
        ))  # fmt: skip


@dataclass(frozen=True)
class Synthesize:
    """Make the missing scan, on exactly the grid of the one that is given."""

    model: Positional[Path]
    """A model folder (RUN/model)."""
    images: Words
    """The model's sources in order, or NAME=FILE words; or one folder or table for a batch."""
    out: Path = field(kw_only=True)
    """A .nii.gz file, or a folder (for a batch always a folder)."""
    mask: Path | None = None
    """Where the head is; otherwise it is found in the first source."""
    settings: Annotated[tuple[str, ...], arg(name="set")] = ()
    """key=value of the recipe's [inference]: planes=["axial","coronal","sagittal"] batch_size=16"""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    force: bool = False
    """Overwrite files that exist."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.inference.files import synthesize_paths

        for path in synthesize_paths(
            self.model, self.images, self.out, mask=self.mask, settings=self.settings,
            device=self.device, force=self.force,
        ):  # fmt: skip
            print(path)


@dataclass(frozen=True)
class Evaluate:
    """Compare predicted volumes with measured ones: masked, whole-volume, one row per case and metric."""

    prediction: Positional[Path]
    """A volume, or a folder of volumes."""
    reference: Positional[Path]
    """A volume, a folder or a table."""
    out: Path = field(kw_only=True)
    """Folder for evaluation.csv and evaluation.json."""
    mask: Path | None = None
    """A mask, or a folder of masks; without one the whole volume counts, which flatters."""
    method: str = "prediction"
    """Name for the method column."""
    target: str | None = None
    """Modality, where the reference holds several (and for its unit and range): FLAIR, CT, FA …"""
    data_range: float | None = None
    """Range for PSNR and SSIM in the data's unit; else the modality's, else the reference's own."""
    labels: Path | None = None
    """A label map, or a folder of them: lesion and healthy rest are scored apart in the passport."""
    passport: bool = False
    """Score under every named convention, side by side: passport.md and passport.json."""
    features: Path | None = None
    """VGG-19's weights, for the passport's LPIPS, FID and KID."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.evaluation.evaluate import evaluate
        from transmodal.evaluation.summary import summarise
        from transmodal.reporting.tables import markdown_table

        rows = evaluate(
            self.prediction, self.reference, out=self.out, mask=self.mask, method=self.method,
            data_range=self.data_range, target=self.target, labels=self.labels, passport=self.passport,
            features=self.features,
        )  # fmt: skip
        print((self.out / "passport.md").read_text() if self.passport else markdown_table(summarise(rows)))


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
        from transmodal.experiment.robustness import robustness

        print(robustness(
            self.runs, self.out, kind=self.kind, sizes=self.sizes, moved=self.moved, draws=self.draws,
            device=self.device,
        ))  # fmt: skip


@dataclass(frozen=True)
class Report:
    """One self-contained HTML page from a run or an evaluation."""

    folder: Positional[Path]
    """A run's folder, or one that evaluate wrote."""
    out: Path | None = None
    """The page; by default report.html in the folder."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.reporting.html import report

        print(report(self.folder, self.out))


@dataclass(frozen=True)
class Download:
    """Fetch published weights that a method trains with: vgg19, vgg19-normalised. Their digest is checked."""

    name: Positional[str]
    """Which weights."""
    to: Path | None = None
    """Folder; by default the cache, where recipes look ($TRANSMODAL_CACHE or ~/.cache/transmodal)."""
    voice: Speak = field(default_factory=Voice)

    def run(self) -> None:
        from transmodal.nn.pretrained import download

        print(download(self.name, self.to))


@dataclass(frozen=True)
class List:
    """The methods there are."""

    json: bool = False
    """As JSON."""

    def run(self) -> None:
        from transmodal import catalogue

        methods = catalogue.list()
        if self.json:
            print(json.dumps(methods, indent=2))
            return
        width = max(len(m["name"]) for m in methods)
        for m in methods:
            print(f"{m['name']:{width}}  {m['summary']}")


@dataclass(frozen=True)
class Show:
    """A method's networks with their sizes, and every argument with its default."""

    method: Positional[str]
    """Name of a method, or a dotted module of your own."""
    settings: Words = ()
    """key=value: arguments of the method, sources, targets, spatial, neighbours, and size (adds GMAC)."""
    json: bool = False
    """As JSON."""

    def run(self) -> None:
        from transmodal.catalogue import show, spell

        facts = show(self.method, self.settings)
        print(json.dumps(facts, indent=2) if self.json else spell(facts))


@dataclass(frozen=True)
class Doctor:
    """What this machine has, and what is missing or unwise."""

    json: bool = False
    """As JSON."""

    def run(self) -> None:
        from transmodal.machine import doctor, spell

        facts = doctor()
        print(json.dumps(facts, indent=2) if self.json else spell(facts))


COMMANDS = (
    Demo, Audit, Plan, Prepare, Train, Synthesize, Evaluate, Robustness, Report, Download, List, Show, Doctor,
)  # fmt: skip


Command = (
    Demo
    | Audit
    | Plan
    | Prepare
    | Train
    | Synthesize
    | Evaluate
    | Robustness
    | Report
    | Download
    | List
    | Show
    | Doctor
)
